/** Every example is run, and does what it says; so is the code that the documentation shows. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Ground, type Ran, ranOf } from '../helpers/commands';
import { engines, root } from '../helpers/service';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 30_000 });

const example = (name: string): string => join(root, 'examples', name);

it('has a test for each example', () => {
  const here = readFileSync(__filename, 'utf8');
  const files = readdirSync(join(root, 'examples')).filter((name) => /\.[cm]?[jt]s$/.test(name));
  expect(files.filter((name) => !here.includes(`'${name}'`))).toEqual([]);
});

describe.each(engines)('examples, %s engine', (engine) => {
  let ground: Ground;
  beforeEach(() => {
    ground = new Ground(engine);
  });
  afterEach(() => ground.dispose());

  /** Runs it until it has printed that, then signals it, and so on; then waits for its end. */
  async function play(
    args: readonly string[],
    ...script: readonly (readonly [wait: RegExp, then: NodeJS.Signals, before?: () => void])[]
  ): Promise<Ran> {
    const child = ground.node(args);
    let printed = '';
    let seen = 0;
    let tell = (): void => {};
    child.stdout!.on('data', (text: Buffer) => {
      printed += text;
      tell();
    });
    const ran = ranOf(child);
    for (const [wait, then, before] of script) {
      const matched = new Promise<boolean>((resolve) => {
        tell = () => wait.test(printed.slice(seen)) && resolve(true);
        tell();
      });
      const outcome = await Promise.race([matched, ran]);
      expect(outcome, `${wait} in ${printed}`).toBe(true);
      seen = printed.length;
      before?.();
      child.kill(then);
    }
    return ran;
  }
  const ctrl = (name: string, ...args: readonly string[]): Promise<Ran> =>
    ranOf(ground.node([example(name), ...args]));

  it('hello.js', async () => {
    const flag = engine === 'native' ? '--native' : '--no-native';
    const child = ground.spawn([
      'run',
      flag,
      '-w',
      '1',
      '-b',
      '127.0.0.1:0',
      '--log-format',
      'json',
      example('hello.js'),
    ]);
    const address = new Promise<string>((resolve) => {
      let printed = '';
      child.stderr!.on('data', (text: Buffer) => {
        printed += text;
        const [found] = /http:\/\/[\d.:]+/.exec(printed) ?? [];
        if (found) resolve(found);
      });
    });
    const ran = ranOf(child);
    expect(await (await fetch(await address)).text()).toMatch(/^Hello from worker \d+\n$/);
    child.kill('SIGTERM');
    expect((await ran).code).toBe(0);
  });

  it('prefork-loop.js', async () => {
    const config = ground.write('config.json', '{"job":"this"}');
    const three = (job: string): RegExp =>
      new RegExp(`(worker \\d+ of generation \\d does ${job}[\\s\\S]*){3}`);
    const change = (): void => void ground.write('config.json', '{"job":"that"}');
    const { code, stdout, stderr } = await play(
      [example('prefork-loop.js'), config],
      [three('this'), 'SIGHUP', change],
      [three('that'), 'SIGTERM'],
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.match(/of generation 2 does that/g)).toHaveLength(3);
    expect(stdout).toMatch(/all workers are gone\n$/);
  });

  it('spare-workers.js', async () => {
    const { code, stdout, stderr } = await play([example('spare-workers.js')], [/is the 3\./, 'SIGTERM']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toMatch(/is the 7\./);
  });

  it('manager.js', async () => {
    const { code, stdout } = await play([example('manager.js')], [/^running$/m, 'SIGTERM']);
    expect(code).toBe(0);
    expect(stdout).toContain('2 workers are healthy\n');
    expect(stdout).toContain('generation 2 serves\n');
    expect(stdout).toMatch(/stopping\n(worker \d+ ended: (0|SIGTERM)\n)+$/);
  });

  it('daemon.js', async () => {
    expect(await ctrl('daemon.js', 'status')).toMatchObject({ code: 3 });
    expect(await ctrl('daemon.js', 'start', '1000')).toMatchObject({ code: 0 });
    expect(await ctrl('daemon.js', 'reload')).toMatchObject({ code: 0 });
    expect(await ctrl('daemon.js', 'status')).toMatchObject({ code: 0 });
    expect(await ctrl('daemon.js', 'stop')).toMatchObject({ code: 0 });
    const text = ground.read('daemon.log');
    for (const line of ['counting to 1000', 'told to reload', '/1000', 'done']) expect(text).toContain(line);
    expect(ground.files()).toEqual(['daemon.log']);
  });

  it('ghost-prefork.js', async () => {
    expect(await ctrl('ghost-prefork.js', 'start')).toMatchObject({ code: 0 });
    expect(await ctrl('ghost-prefork.js', 'status')).toMatchObject({ code: 0 });
    expect(await ctrl('ghost-prefork.js', 'restart')).toMatchObject({ code: 0 });
    expect(await ctrl('ghost-prefork.js', 'stop')).toMatchObject({ code: 0 });
    await ground.quiet();
    const text = ground.read('ghost.log');
    expect(text.match(/Spirit \d+ started/g)!.length).toBeGreaterThanOrEqual(1);
    expect(text.match(/Spirit \d+ stopped/g)!.length).toBe(text.match(/Spirit \d+ started/g)!.length);
    expect(ground.files()).toEqual(['ghost.log']);
  });

  it('the code in docs/library.md', async () => {
    const blocks = [
      ...readFileSync(join(root, 'docs', 'library.md'), 'utf8').matchAll(/```js\n([\s\S]*?)```/g),
    ];
    expect(blocks).toHaveLength(3);
    const stubs = `
      const { setTimeout: sleep } = require('node:timers/promises');
      const loadConfig = () => ({});
      const runWorker = async () => { while (pm.tick()) await sleep(20); };
      const work = (signal) => sleep(50, undefined, { signal }).catch(() => {});`;
    const [loop, manager, daemon] = blocks.map(([, code]) => code!);
    ground.write('server.js', `require('node:http').createServer().listen(process.env.PORT);`);
    const body = (code: string): string => code.replace(/^const \{ \w+ \} = require.*$/m, '');
    const wrap = (name: string, code: string): string => {
      const script = `const prefork = require(${JSON.stringify(root)}); const { Prefork, createManager, daemon } = prefork;
        let pm; ${stubs} (async () => { ${body(code).replace('const pm =', 'pm =')} })();`;
      return ground.write(name, script);
    };
    const stops = `setTimeout(() => pm.isWorker || process.kill(process.pid, 'SIGTERM'), 1500).unref(); while (pm.signal`;
    const first = await ranOf(ground.node([wrap('loop.js', loop!.replace('while (pm.signal', stops))]));
    expect(first).toMatchObject({ code: 0, stderr: '' });
    const second = await ranOf(
      ground.node([wrap('manager.js', manager!.replace('bind: 8080', "bind: '127.0.0.1:0'"))]),
    );
    expect(second.code).toBe(0);
    expect(second.stdout.match(/^\d+ 0$/gm)!.length).toBeGreaterThanOrEqual(8);
    const files = daemon!
      .replace('/run/counter.pid', ground.path('c.pid'))
      .replace('/var/log/counter.log', ground.path('c.log'))
      .replace("  user: 'nobody',\n", '');
    const script = wrap('counter.js', files);
    for (const command of ['start', 'status', 'stop']) {
      expect(await ranOf(ground.node([script, command]))).toMatchObject({ code: 0 });
    }
  });
});
