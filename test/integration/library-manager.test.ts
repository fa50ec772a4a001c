/** createManager() inside a program that has children, signals and output of its own; on both engines. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Program, type Said } from '../helpers/program';
import { engines, fixture } from '../helpers/service';

describe.each(engines)('createManager(), %s engine', (engine) => {
  let program: Program;
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-library-'));
  });
  afterEach(async () => {
    await program.dispose();
    rmSync(directory, { recursive: true });
  });

  function start(options: object = {}): void {
    program = Program.start([fixture('library/embedded.cjs')], engine, {
      PREFORK_TEST_OPTIONS: JSON.stringify({ native: engine === 'native', ...options }),
    });
  }

  /** Has the program do something, and waits for the outcome. */
  async function ask(line: string): Promise<Said> {
    const before = program.said.filter(isOutcome).length;
    program.process.stdin!.write(`${line}\n`);
    const outcome = await Promise.race([
      program.all('did', program.count('did') + 1),
      program.all('failed', program.count('failed') + 1),
    ]);
    expect(program.said.filter(isOutcome).length).toBe(before + 1);
    return outcome.at(-1)!;
  }
  const isOutcome = ({ event }: Said): boolean => event === 'did' || event === 'failed';
  const argsOf = (event: string): unknown[] =>
    program.said.filter((said) => said.event === event).map(({ args }) => (args as unknown[])[0]);

  it('goes from start to stop, tells of it, and leaves the program to itself', async () => {
    start();
    await ask('start');
    expect(argsOf('startup')).toHaveLength(1);
    expect(argsOf('spawn')).toMatchObject([
      { workerId: 1, slot: 0, generation: 1 },
      { workerId: 2, slot: 1, generation: 1 },
    ]);
    expect(argsOf('ready')).toHaveLength(2);
    const workers = (await ask('workers')).result as { pid: number; state: string }[];
    expect(workers).toMatchObject([
      { slot: 0, state: 'ready' },
      { slot: 1, state: 'ready' },
    ]);
    const { result: facts } = await ask('facts');
    expect(facts).toMatchObject({ healthy: 2, signals: [] });
    expect((facts as { waits: number }).waits).toBeGreaterThan(0);
    await program.all('heartbeat', 2);
    expect(await ask('child')).toMatchObject({ result: 9 });
    // One that ends is replaced, and told of with how it ended.
    process.kill(workers[0]!.pid, 'SIGKILL');
    expect((await program.event('reap')).args).toMatchObject([
      { workerId: 1, pid: workers[0]!.pid },
      { exitCode: null, signal: 'SIGKILL', status: 9, expected: false, wasReady: true },
    ]);
    await program.all('ready', 3);
    expect(await ask('child')).toMatchObject({ result: 9 });
    expect(await ask('scale 3')).toMatchObject({ result: 3 });
    await program.all('ready', 4);
    expect(await ask('scale 2')).toMatchObject({ result: 2 });
    await program.all('reap', 2);
    expect(await ask('stop')).toMatchObject({ result: 0 });
    expect(argsOf('finish')).toEqual([true]);
    expect(await ask('workers')).toMatchObject({ result: [] });
    expect(await ask('child')).toMatchObject({ result: 9 });
    program.process.stdin!.write('end\n');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.errors).toBe('');
  });

  it('starts a new generation, or keeps the old one where that fails', async () => {
    const entry = join(directory, 'app.js');
    const serve = `require('node:http').createServer((q, r) => r.end('1')).listen(process.env.PORT);`;
    writeFileSync(entry, serve);
    start({ entry });
    await ask('start');
    expect(await ask('reload')).toMatchObject({ event: 'did', result: 2 });
    writeFileSync(entry, 'process.exit(4);');
    const failed = await ask('reload');
    expect(failed).toMatchObject({ event: 'failed', code: 'ERR_PREFORK_NEVER_READY' });
    expect(failed.message).toMatch(/exited with code 4/);
    expect(argsOf('reload')).toMatchObject([
      { generation: 2, ok: true, reason: null },
      { generation: 3, ok: false, reason: expect.stringContaining('exited with code 4') },
    ]);
    expect((await ask('facts')).result).toMatchObject({ healthy: 2 });
    expect(await ask('stopNow')).toMatchObject({ result: 0 });
    expect(argsOf('finish')).toEqual([false]);
    program.process.stdin!.write('end\n');
    await program.exited;
  });

  it('says why it cannot start, and leaves nothing', async () => {
    const entry = join(directory, 'app.js');
    writeFileSync(entry, 'process.exit(4);');
    start({ entry });
    const failed = await ask('start');
    expect(failed).toMatchObject({ event: 'failed', code: 'ERR_PREFORK_NEVER_READY' });
    expect(failed.message).toMatch(/exited with code 4/);
    expect(await ask('start')).toMatchObject({ event: 'failed', code: 'ERR_PREFORK_STATE' });
    expect(await ask('scale 2')).toMatchObject({ event: 'failed', code: 'ERR_PREFORK_STATE' });
    program.process.stdin!.write('end\n');
    expect((await program.exited).code).toBe(0);
  });

  it.each([
    [{ entry: '' }, 'ERR_PREFORK_ENTRY'],
    [{ daemonize: true }, 'ERR_PREFORK_OPTION_CONFLICT'],
    [{ hookTimeout: 'soon' }, 'ERR_PREFORK_OPTION_VALUE'],
  ])('refuses %j at once', async (options, code) => {
    start(options);
    expect((await program.exited).code).toBe(1);
    expect(program.errors).toContain(code);
  });

  it.each([
    [{ workers: 0 }, 'ERR_PREFORK_OPTION_VALUE', /^workers in createManager\(\): 0 is too low/],
    [{ wrokers: 2 }, 'ERR_PREFORK_OPTION_UNKNOWN', /did you mean workers/],
    [{ entry: '/nowhere/app.js' }, 'ERR_PREFORK_ENTRY', /no such file/],
    [{ trapSignals: { KILL: 'TERM' } }, 'ERR_PREFORK_OPTION_VALUE', /trapped/],
  ])('refuses %j at the start', async (options, code, message) => {
    start(options);
    const failed = await ask('start');
    expect(failed).toMatchObject({ event: 'failed', code });
    expect(failed.message).toMatch(message);
    program.process.stdin!.write('end\n');
    expect((await program.exited).code).toBe(0);
  });

  it('answers signals where it is asked to', async () => {
    start({ signals: 'prefork' });
    await ask('start');
    expect((await ask('facts')).result).toMatchObject({ signals: ['SIGTERM', 'SIGHUP', 'SIGINT'] });
    program.signal('SIGHUP');
    await program.event('reload');
    program.signal('SIGTERM');
    await program.event('finish');
    expect(await ask('stop')).toMatchObject({ result: 0 });
    expect((await ask('facts')).result).toMatchObject({ signals: [] });
    program.process.stdin!.write('end\n');
    expect((await program.exited).code).toBe(0);
  });

  it('goes on when hooks throw, hang and call back', async () => {
    start({ hooks: 'bad', hookTimeout: '50ms' });
    await ask('start');
    const workers = (await ask('workers')).result as { pid: number }[];
    process.kill(workers[0]!.pid, 'SIGKILL');
    expect(await program.event('scaled')).toMatchObject({ workers: 3 });
    await program.all('ready', 4);
    expect(await ask('stop')).toMatchObject({ result: 0 });
    for (const problem of [
      'the hook spawn failed: no coffee',
      'the hook ready is not done after 50 ms; it is no longer waited for',
      'the hook startup is not done after 50 ms; it is no longer waited for',
      'the hook finish is not done after 50 ms; it is no longer waited for',
    ]) {
      expect(program.errors).toContain(problem);
    }
    program.process.stdin!.write('end\n');
    await program.exited;
  });
});
