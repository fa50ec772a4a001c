/** The programs in README.md and docs/ are whole, use what there is, and do what the text around them says. Each block has its test below. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileFunction } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { pages, programsOf } from '../helpers/documentation';
import { root } from '../helpers/service';
import { get, Stage } from '../helpers/stage';
import { statusWhere } from '../helpers/status';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 30_000 });

const canFork = loadBinding().binding?.forkSupport().ok === true;
const blocks = pages.flatMap((page) => programsOf(page).map((program, index) => ({ ...program, index })));
const block = (page: string, index: number): string => programsOf(page)[index]!.code;

const SERVER = block('docs/quick-start.md', 0);
/** What a page leaves out where a program has to serve. */
const LISTEN = `require('node:http').createServer((request, response) => response.end('ok')).listen(process.env.PORT ?? 3000);`;

type Does = (stage: Stage, code: string) => Promise<unknown>;

/** Serves it with two workers, and returns what it printed until its end. */
async function played(stage: Stage, code: string, options = '-b 3000'): Promise<string> {
  stage.write('program.js', code);
  const service = stage.serve(`prefork run -w 2 ${options} program.js`);
  await service.serving();
  expect(await service.stop()).toEqual({ code: 0, signal: null });
  return service.output;
}

const count = (text: string, what: string): number => text.split(`${what}\n`).length - 1;

const tests: Readonly<Record<string, readonly Does[]>> = {
  'README.md': [
    async (stage, code) => {
      stage.write('server.js', SERVER);
      stage.write('prefork.config.mjs', code);
      const service = stage.serve('prefork run server.js');
      expect((await service.serving()).pids).toHaveLength(4);
      expect(await get(stage.port('8080'))).toMatch(/^hello from/);
      expect((await service.stop()).code).toBe(0);
    },
    async (stage, code) => {
      const program = `const database = { end: () => console.log('database closed') }; ${code} ${LISTEN}`;
      expect(count(await played(stage, program, '--ready message -b 3000'), 'database closed')).toBe(2);
      // Harmless where it is no worker.
      stage.write('alone.js', program.replace(LISTEN, ''));
      await stage.ok('node alone.js');
    },
    loop,
  ],
  // These three are run by examples.test.ts, on both engines.
  'docs/library.md': [isInExamples, isInExamples, isInExamples],
  'docs/observe.md': [
    async (stage, code) => {
      stage.write(
        'server.js',
        `${code} new (require('prom-client').Counter)({ name: 'orders_total', help: 'orders' }).inc(21); ${LISTEN}`,
      );
      const service = stage.serve('prefork run --metrics 127.0.0.1:9090 -w 2 -b 3000 server.js');
      await service.serving();
      expect(await get(stage.port('9090'), '/metrics')).toMatch(/^orders_total 42$/m);
      expect((await service.stop()).code).toBe(0);
    },
  ],
  'docs/preload.md': [
    async (stage, code) => {
      if (!canFork) return;
      const database = `const database = { open: () => console.log('opened'), close: () => console.log('closed') };`;
      const printed = await played(stage, `${database} ${code} ${LISTEN}`, '--native --preload -b 3000');
      expect([count(printed, 'closed'), count(printed, 'opened')]).toEqual([1, 2]);
    },
  ],
  'docs/quick-start.md': [
    async (stage, code) => {
      stage.write('server.js', code);
      const service = stage.serve('prefork run -w 1 server.js');
      const { pids } = await service.serving();
      expect(await get(stage.port('3000'))).toBe(`hello from ${pids[0]}\n`);
      expect((await service.stop()).code).toBe(0);
    },
    // Of the story of this page in docs.test.ts.
    async (_, code) => expect(JSON.parse(code)).toMatchObject({ workers: 2 }),
  ],
  'docs/scoreboard.md': [
    async (stage, code) => {
      const [load, ...rest] = code.split('\n');
      stage.write(
        'loop.js',
        `${load}
         async function* jobs() { yield* 'abc'; await new Promise((resolve) => process.once('SIGTERM', resolve)); }
         const queue = jobs(), work = async (job, { everyRound }) => everyRound();
         (async () => { ${rest.join('\n')} })();
         setInterval(() => {}, 1000).unref(); process.send('ready'); process.on('SIGTERM', () => process.exit(0));`,
      );
      const service = stage.serve('prefork run --ready message -w 2 --control /run/app.control loop.js');
      await service.serving();
      await statusWhere(stage.ground.path('run/app.control'), ({ workers }) =>
        workers.every(({ row }) => row?.requests === 3 && row.activity === 'idle'),
      );
      expect((await service.stop()).code).toBe(0);
    },
  ],
  'docs/shutdown.md': [
    async (stage, code) => {
      const database = `const database = { end: async () => console.log('database closed') };`;
      expect(count(await played(stage, `${database} ${code} ${LISTEN}`), 'database closed')).toBe(2);
      const failing = `const database = { end: async () => { throw new Error('lost') } };`;
      stage.write('program.js', `${failing} ${code} ${LISTEN}`);
      const service = stage.serve('prefork run -w 1 -b 3000 program.js');
      await service.serving();
      await service.stop();
      expect(service.errors).toMatch(/Error: lost/);
      expect(service.lines.find(({ event }) => event === 'worker-exited')).toMatchObject({ status: 256 });
    },
    async (stage, code) => {
      const sockets = `const webSockets = new Set([{ close: (code) => console.log('closed ' + code) }]);`;
      const load = `const { onDrain } = require('prefork/worker');`;
      expect(count(await played(stage, `${load} ${sockets} ${code} ${LISTEN}`), 'closed 1001')).toBe(2);
    },
    // Run by the story of this page in docs.test.ts.
    async (_, code) => expect(code).toContain('setBusy()'),
  ],
};

/** The loop of the README: as many workers as it says, each of which works until it is told to end. */
async function loop(stage: Stage, code: string): Promise<void> {
  const [load, ...rest] = code.split('\n');
  stage.write(
    'manager.js',
    `${load}
     const { setTimeout: sleep } = require('node:timers/promises');
     (async () => {
       const runWorker = async () => { console.error('{"event":"works"}'); while (pm.tick()) await sleep(20); };
       ${rest.join('\n')}
       console.error('{"event":"over"}');
     })();`,
  );
  const service = stage.serve('node manager.js');
  for (let worker = 0; worker < 10; worker++) await service.event('works');
  service.signal('SIGTERM');
  await service.event('over');
  expect(await service.exited).toEqual({ code: 0, signal: null });
}

async function isInExamples(): Promise<void> {
  const text = readFileSync(join(root, 'test', 'integration', 'examples.test.ts'), 'utf8');
  expect(text).toContain("it('the code in docs/library.md'");
}

/** `{ a, b }` from a package of ours, in either style. */
const LOAD =
  /(?:const \{ ([\w, :]+) \} = require\('(prefork[\w/]*)'\)|import \{ ([\w, ]+) \} from '(prefork[\w/]*)')/g;
const modules: Readonly<Record<string, string>> = {
  prefork: 'dist/index.js',
  'prefork/worker': 'dist/worker.js',
  'prefork/posix': 'dist/posix.js',
};

describe('each program in the documentation', () => {
  it('has a test', () => {
    const found = Object.fromEntries(
      pages.map((page) => [page, programsOf(page).length] as const).filter(([, length]) => length > 0),
    );
    const tested = Object.fromEntries(Object.entries(tests).map(([page, each]) => [page, each.length]));
    expect(tested).toEqual(found);
  });

  it.each(blocks)('parses, and loads what there is: $page, $index', ({ language, code }) => {
    expect(['js', 'json']).toContain(language);
    if (language === 'json') return void JSON.parse(code);
    const body = code.replace(/^import .*$/gm, '').replace(/^export default /gm, 'return ');
    expect(() => compileFunction(`async () => {\n${body}\n}`)).not.toThrow();
    for (const [, required, from, imported, by] of code.matchAll(LOAD)) {
      const exports = require(join(root, modules[from ?? by!]!)) as Record<string, unknown>;
      for (const name of (required ?? imported)!.split(', ')) expect(exports[name], name).toBeDefined();
    }
  });
});

describe('programs of', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.set();
  });
  afterEach(() => stage.dispose());

  for (const [page, each] of Object.entries(tests)) {
    it.each(each.map((does, index) => [index, does] as const))(`${page}, %i`, async (index, does) => {
      await does(stage, block(page, index));
    });
  }
});
