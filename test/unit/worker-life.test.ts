import { get } from 'node:http';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DIST, type EngineName, TestManager } from '../helpers/worker-harness';

const WORKER = JSON.stringify(join(DIST, 'worker.js'));
const CLEAN = { code: 0, signal: null };
const STRIPS_TYPES = Number(process.versions.node.split('.')[0]) >= 24;

function body(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data) => {
        text += data;
      });
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

const ENGINES: EngineName[] = ['native', 'js'];

describe.each(ENGINES)('a worker of the %s engine', (engine) => {
  let manager: TestManager;

  beforeEach(() => {
    manager = new TestManager(engine);
  });
  afterEach(() => manager.close());

  test('says hello, sees its place, and nothing of the hook', async () => {
    const worker = manager.spawn({
      code: `
        const { worker } = require(${WORKER});
        console.log('info', JSON.stringify({ ...worker }));
        console.log('argv', JSON.stringify(process.execArgv));
        console.log('env', JSON.stringify(Object.keys(process.env).filter((key) => /PREFORK|NODE_/.test(key))));`,
      nodeArgs: ['--no-deprecation'],
    });
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.messages[0]).toEqual({ type: 'hello', pid: worker.pid });
    expect(await worker.report('info')).toEqual({ isWorker: true, slot: 1, workerId: 7, generation: 2 });
    expect(JSON.stringify(await worker.report('argv'))).not.toContain('hook.js');
    expect(await worker.report('argv')).toContain('--no-deprecation');
    expect(await worker.report('env')).toEqual(['PREFORK_SLOT', 'PREFORK_WORKER_ID', 'PREFORK_GENERATION']);
    expect(worker.stderr).toBe('');
  });

  test('a program with nothing to do ends by itself', async () => {
    const worker = manager.spawn({
      code: `process.once('message', () => {}); process.removeAllListeners('message');`,
    });
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.messages.map(({ type }) => type)).toEqual(['hello']);
  });

  test('threads and children do not inherit it', async () => {
    const listener = manager.listen();
    const probe = `
      const { worker } = require(${WORKER});
      const fds = require('node:fs').readdirSync('/proc/self/fd').filter((fd) => {
        if (fd < 3) return false;
        try { return require('node:fs').readlinkSync('/proc/self/fd/' + fd).startsWith('socket:'); } catch { return false; }
      });`;
    const directory = mkdtempSync(join(tmpdir(), 'prefork-life-'));
    const child = join(directory, 'child.js');
    writeFileSync(
      child,
      `${probe} process.send({ who: 'fork', isWorker: worker.isWorker, execArgv: process.execArgv, fds: fds.length });`,
    );
    const worker = manager.spawn({
      code: `
        const { fork, execFileSync } = require('node:child_process');
        const { Worker } = require('node:worker_threads');
        console.log('exec', execFileSync(process.execPath, ['-p', ${JSON.stringify(`${probe} JSON.stringify([worker.isWorker, fds.length])`)}], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim());
        fork(${JSON.stringify(child)}, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] }).once('message', (m) => console.log('fork', JSON.stringify(m)));
        new Worker('const { worker } = require(${WORKER.replaceAll('"', '\\"')}); require("node:worker_threads").parentPort.postMessage([process.execArgv, process.env.PREFORK_CHANNEL ?? null])', { eval: true })
          .once('message', (m) => console.log('thread', JSON.stringify(m)));`,
      listeners: [listener],
    });
    expect(await worker.exited).toEqual(CLEAN);
    expect(await worker.report('exec')).toEqual([false, 0]);
    // One socket: its own channel to its parent.
    expect(await worker.report('fork')).toMatchObject({ who: 'fork', isWorker: false, fds: 1 });
    expect(JSON.stringify(await worker.report('fork'))).not.toContain('hook.js');
    expect(await worker.report('thread')).toEqual([
      expect.not.arrayContaining([expect.stringContaining('hook.js')]),
      null,
    ]);
    expect(worker.all('hello')).toHaveLength(1);
    rmSync(directory, { recursive: true });
  });

  test('ready(), retire() and messages of the program, as with child_process', async () => {
    const worker = manager.spawn({
      code: `
        const { ready, retire } = require(${WORKER});
        process.send('ready'); ready();
        process.send({ job: 1 }, () => console.log('sent'));
        retire('because'); retire('again');
        setImmediate(() => process.on('message', (message, handle) => {
          console.log('got', JSON.stringify([message, handle ?? null]));
          if (message === 'end') process.removeAllListeners('message');
        }));
        console.log('connected', process.connected);`,
    });
    worker.send({ type: 'user', data: { early: true } });
    await worker.line(/sent/);
    worker.send({ type: 'user', data: 'end' });
    if (engine === 'native') expect(await worker.exited).toEqual(CLEAN);
    await worker.line(/got \["end",null\]/);
    expect(worker.stdout).toContain('got [{"early":true},null]\ngot ["end",null]\n');
    expect(worker.messages.slice(1)).toEqual([
      { type: 'ready' },
      { type: 'ready' },
      { type: 'user', data: { job: 1 } },
      { type: 'retire', reason: 'because' },
    ]);
    await worker.line(/connected true/);
  });

  test('a message that is too long is refused, and the channel goes on', async () => {
    const worker = manager.spawn({
      code: `
        console.log('sent', process.send('x'.repeat(70_000), (error) => { console.log('error', error.message); process.send('small'); }));`,
    });
    await worker.message('user', ({ data }) => data === 'small');
    expect(worker.stdout).toContain('sent false');
    expect(worker.stdout).toContain('error the message is longer than 64 KiB');
  });

  test('messages that the kernel does not take at once all arrive, in their order', async () => {
    const worker = manager.spawn({
      code: `
        for (let i = 0; i < 3000; i++) process.send({ i, padding: 'x'.repeat(1000) });
        console.error('last words'); process.on('exit', () => { process.exitCode = 5; });`,
    });
    expect(await worker.exited).toEqual({ code: 5, signal: null });
    const numbers = worker.all('user').map(({ data }) => (data as { i: number }).i);
    expect(numbers).toEqual(Array.from({ length: 3000 }, (_, i) => i));
  });

  test('logs are reopened on request', async () => {
    const worker = manager.spawn({
      code: `
        require(${WORKER}).onReopenLogs(() => { console.log('reopened'); clearInterval(timer); });
        const timer = setInterval(() => {}, 1e6); console.log('up');`,
    });
    await worker.line(/up/);
    worker.send({ type: 'reopenLogs', outputs: [], file: null });
    await worker.line(/reopened/);
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('max-requests: one retire, and it goes on serving', async () => {
    const listener = manager.listen();
    const worker = manager.spawn({
      entry: 'worker-server.js',
      args: [JSON.stringify({ listen: [listener.boundPort] })],
      listeners: [listener],
      boot: { maxRequests: 3 },
    });
    await worker.message('listening');
    for (let i = 0; i < 2; i++) await body(listener.boundPort);
    expect(worker.all('retire')).toEqual([]);
    for (let i = 0; i < 3; i++) await body(listener.boundPort);
    expect(await worker.message('retire')).toEqual({ type: 'retire', reason: 'max-requests' });
    expect(worker.all('retire')).toHaveLength(1);
  });

  test('countRequest() counts jobs', async () => {
    const worker = manager.spawn({
      code: `
        const { countRequest } = require(${WORKER});
        countRequest(9); process.send('nine'); countRequest();
        for (const wrong of [-1, 1.5, NaN]) try { countRequest(wrong); } catch (error) { console.log(error.name); }`,
      boot: { maxRequests: 10 },
    });
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.messages.slice(1)).toEqual([
      { type: 'user', data: 'nine' },
      { type: 'retire', reason: 'max-requests' },
    ]);
    expect(worker.stdout).toBe('RangeError\nRangeError\nRangeError\n');
  });

  test.each([
    [
      'an exception',
      'console.error("before"); function deep() { throw new TypeError("oh no"); } deep();',
      1,
      /^before\n[\s\S]*TypeError: oh no\n {4}at deep/,
    ],
    ['a rejection', 'Promise.reject(new Error("oh no"))', 1, /^Error: oh no\n/],
    ['no error object', 'throw "a string"', 1, /^Uncaught a string/],
    [
      'an exit with a code',
      'process.stderr.write("last "); process.stderr.write(Buffer.from("words")); process.exit(3)',
      3,
      /^last words$/,
    ],
    [
      'an exit without an error before it served',
      'console.error("no DATABASE_URL"); process.exit(0)',
      0,
      /^no DATABASE_URL\n$/,
    ],
  ])('last words: %s', async (_name, code, exitCode, text) => {
    const worker = manager.spawn({ code });
    expect(await worker.exited).toEqual({ code: exitCode, signal: null });
    expect(worker.all('lastWords')).toHaveLength(1);
    expect(worker.all('lastWords')[0]?.text).toMatch(text);
  });

  test('last words are the last 4 KiB, and arrive every time', async () => {
    const code = `
      for (let i = 0; i < 5000; i++) process.stderr.write('line ' + i + '\\n');
      process.stderr.write('é'.repeat(100)); process.exit(9);`;
    const workers = Array.from({ length: 10 }, () => manager.spawn({ code }));
    for (const worker of workers) {
      expect(await worker.exited).toEqual({ code: 9, signal: null });
      const { text } = await worker.message('lastWords');
      expect(text).toMatch(/line 4999\né{100}$/);
      expect(Buffer.byteLength(text)).toBeGreaterThan(4000);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
    }
  });

  test('a syntax error is told with its place', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-life-'));
    for (const [name, source] of [
      ['common.cjs', 'const a = 1;\nconst b = ;\n'],
      ['module.mjs', 'const a = 1;\nconst b = ;\n'],
    ] as const) {
      const entry = join(directory, name);
      writeFileSync(entry, source);
      const worker = manager.spawn({ entry });
      expect(await worker.exited).toEqual({ code: 1, signal: null });
      const { text } = await worker.message('lastWords');
      expect(text).toContain(`${name}:2`);
      expect(text).toContain('SyntaxError');
    }
    rmSync(directory, { recursive: true });
  });

  test('a served worker that ends well has nothing to say', async () => {
    const worker = manager.spawn({ code: `console.error('noise'); require(${WORKER}).ready();` });
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.messages.map(({ type }) => type)).toEqual(['hello', 'ready']);
  });

  test('it leaves when the manager is gone', async () => {
    const listener = manager.listen();
    const worker = manager.spawn({
      entry: 'worker-server.js',
      args: [JSON.stringify({ listen: [listener.boundPort] })],
      listeners: [listener],
    });
    await worker.message('listening');
    worker.closeChannel();
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('other stop signals, as the manager names them', async () => {
    const worker = manager.spawn({
      code: `require(${WORKER}).onDrain(({ reason }) => console.log('drained', reason)); setInterval(() => {}, 1e6); console.log('up');`,
      boot: { stopSignals: ['SIGUSR2'] },
    });
    await worker.line(/up/);
    worker.signal('SIGUSR2');
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.stdout).toContain('drained SIGUSR2');
  });

  test('a program that forks with node:cluster is warned once', async () => {
    const worker = manager.spawn({ entry: 'worker-cluster.js', boot: { workers: 4 } });
    expect(await worker.exited).toEqual(CLEAN);
    expect(await worker.report('warning')).toEqual(['PreforkWarning', 'PREFORK_CLUSTER']);
    expect(worker.stderr.match(/PREFORK_CLUSTER/g)).toHaveLength(1);
    expect(worker.stderr).toContain('already runs 4 of this program');
    expect(await worker.report('child')).toEqual([[], []]);
  });

  test.each(['http', 'express', 'fastify', 'koa'])(
    'an ES module with top-level await: %s',
    async (framework) => {
      const listener = manager.listen();
      const worker = manager.spawn({
        entry: 'worker-esm.mjs',
        args: [framework, String(listener.boundPort)],
        listeners: [listener],
      });
      expect(await worker.message('listening')).toEqual({
        type: 'listening',
        key: listener.key,
        protocol: 'http',
      });
      expect(await body(listener.boundPort)).toBe(framework);
      worker.signal('SIGTERM');
      expect(await worker.exited).toEqual(CLEAN);
    },
  );

  test.runIf(STRIPS_TYPES || process.env.PREFORK_TEST_NODE)(
    'a TypeScript entry, where Node strips types',
    async () => {
      const listener = manager.listen();
      const worker = manager.spawn({
        entry: 'worker-types.ts',
        args: [String(listener.boundPort)],
        listeners: [listener],
      });
      await worker.message('listening');
      expect(await body(listener.boundPort)).toBe('typed');
    },
  );

  test('signal-exit and its like do not stand in the way of the drain', async () => {
    const worker = manager.spawn({
      code: `
        const onSignal = () => {
          if (process.listeners('SIGTERM').length === 1) { process.removeListener('SIGTERM', onSignal); console.log('cleaned'); process.kill(process.pid, 'SIGTERM'); }
        };
        process.on('SIGTERM', onSignal);
        require(${WORKER}).onDrain(() => console.log('drained'));
        setInterval(() => {}, 1e6); console.log('up');`,
    });
    await worker.line(/up/);
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.stdout).toBe('up\ncleaned\ndrained\n');
  });

  test('a program that removes all listeners of the signal is still drained', async () => {
    const worker = manager.spawn({
      code: `
        process.on('SIGTERM', () => {}); process.removeAllListeners('SIGTERM');
        require(${WORKER}).onDrain(() => console.log('drained'));
        setInterval(() => {}, 1e6); console.log('up');`,
    });
    await worker.line(/up/);
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.stdout).toBe('up\ndrained\n');
  });

  test('another version of the protocol is refused', async () => {
    const worker = manager.spawn({ code: 'console.log("ran")', boot: { v: 2 as 1 } });
    expect(await worker.exited).toEqual({ code: 1, signal: null });
    expect(worker.stderr).toMatch(
      /^prefork: this worker speaks version 1 of the protocol, its manager version 2\n$/,
    );
    expect(worker.stdout).toBe('');
  });
});

test('a hook that is loaded without a manager does nothing', () => {
  const { execFileSync } = require('node:child_process') as typeof import('node:child_process');
  const hook = join(DIST, 'worker/hook.js');
  const code = `console.log(JSON.stringify([process.listenerCount('SIGTERM'), require(${WORKER}).worker.isWorker]))`;
  expect(execFileSync(process.execPath, ['--require', hook, '-e', code], { encoding: 'utf8' })).toBe(
    '[0,false]\n',
  );
  expect(readFileSync(hook, 'utf8')).not.toContain("worker_threads'");
});
