import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freePort } from '../helpers/ports';
import { type EngineName, TestManager } from '../helpers/worker-harness';

/** Prelude of the programs: `say(name, value)`, and a server that tells what happens to it. */
const SAY = `
  const net = require('node:net');
  const say = (name, value) => console.log(name, JSON.stringify(value ?? null));
  const facts = (error) => ({ code: error.code, errno: error.errno, syscall: error.syscall, address: error.address, port: error.port, message: error.message });
  const make = (name = 's') => {
    const server = net.createServer((socket) => { socket.on('error', () => {}); socket.end(name); });
    server.on('error', (error) => say(name + '-error', facts(error)));
    server.on('listening', () => say(name + '-listening', server.address()));
    return server;
  };
`;

function greeting(options: net.NetConnectOpts): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(options);
    socket.setEncoding('utf8').on('data', (data) => {
      text += data;
    });
    socket.on('end', () => resolve(text)).on('error', reject);
  });
}

const ENGINES: EngineName[] = ['native', 'js'];

describe.each(ENGINES)('listen() in a worker of the %s engine', (engine) => {
  let manager: TestManager;
  let directory: string;

  beforeEach(() => {
    manager = new TestManager(engine);
    directory = mkdtempSync(join(tmpdir(), 'prefork-listen-'));
  });
  afterEach(async () => {
    await manager.close();
    rmSync(directory, { recursive: true });
  });

  const run = (code: string, options: Partial<Parameters<TestManager['spawn']>[0]> = {}) =>
    manager.spawn({ code: `${SAY}${code}`, ...options });

  test.each([
    ['(port)', 'listen(port)'],
    ['(port, callback)', 'listen(port, () => say("callback"))'],
    ['(port, host)', 'listen(port, "127.0.0.1")'],
    ['(port, host, backlog, callback)', 'listen(port, "localhost", 10, () => say("callback"))'],
    ['(string port)', 'listen(String(port))'],
    ['({ port, host })', 'listen({ port, host: "0.0.0.0" })'],
    ['({ port, exclusive, reusePort })', 'listen({ port, exclusive: true, reusePort: true })'],
    ['({ port as bound })', 'listen({ port: Number(process.env.PORT) }, () => say("callback"))'],
  ])('%s gets the socket of --bind on that port', async (_name, call) => {
    const listener = manager.listen();
    const worker = run(`const port = ${listener.boundPort}; make().${call}`, {
      listeners: [listener],
      env: { PORT: String(listener.boundPort) },
    });
    const { key } = await worker.message('listening');
    expect(key).toBe(listener.key);
    expect(await worker.report('s-listening')).toMatchObject({
      address: '127.0.0.1',
      port: listener.boundPort,
    });
    if (call.includes('callback')) await worker.line(/^callback/m);
    expect(await greeting({ port: listener.boundPort })).toBe('s');
    expect(worker.all('listen')).toEqual([]);
    expect(worker.all('listening')).toHaveLength(1);
    expect(worker.stdout.match(/s-listening/g)).toHaveLength(1);
  });

  test('a port without --bind is asked for, and shared by the workers', async () => {
    const port = await freePort();
    const code = `make(String(process.pid)).listen(${port}, '127.0.0.1'); process.send('ready')`;
    const workers = [run(code), run(code)];
    for (const worker of workers) expect((await worker.message('listening')).protocol).toBe('tcp');
    expect(workers.map((worker) => worker.all('listen')[0])).toMatchObject([
      { kind: 'tcp', address: '127.0.0.1', port, backlog: 511, site: '' },
      { kind: 'tcp', address: '127.0.0.1', port, backlog: 511, site: '' },
    ]);
    expect(manager.listeners).toHaveLength(1);
    workers[0]?.signal('SIGTERM');
    await workers[0]?.exited;
    expect(await greeting({ port })).toBe(String(workers[1]?.pid));
  });

  test('listen() without a host asks for every address, and takes IPv4 where IPv6 fails', async () => {
    manager.refusals.push({ errno: -97, code: 'EAFNOSUPPORT' });
    const worker = run('make().listen(0)');
    const { port } = await worker.report<{ port: number }>('s-listening');
    expect(worker.all('listen').map(({ address }) => address)).toEqual(['::', '0.0.0.0']);
    expect(await greeting({ port })).toBe('s');
  });

  test('listen(0): a port for each call site, the same in each worker', async () => {
    const code = `
      function one(name) { make(name).listen(0, '127.0.0.1'); }
      one('a'); one('b');
      make('c').listen({ port: 0, host: '127.0.0.1' });
    `;
    const ports = await Promise.all(
      [run(code), run(code)].map(async (worker) => {
        const reports = await Promise.all(
          ['a', 'b', 'c'].map((n) => worker.report<{ port: number }>(`${n}-listening`)),
        );
        return reports.map(({ port }) => port);
      }),
    );
    expect(ports[0]).toEqual(ports[1]);
    expect(new Set(ports[0]).size).toBe(3);
    expect(manager.listeners).toHaveLength(3);
  });

  test('a path, with its address, mode and file', async () => {
    const path = join(directory, 'app.sock');
    const worker = run(
      `make().listen({ path: ${JSON.stringify(path)}, readableAll: true, writableAll: true })`,
    );
    expect(await worker.report('s-listening')).toBe(path);
    expect(worker.all('listen')).toMatchObject([{ kind: 'unix', address: path, port: 0 }]);
    expect((worker.all('listen')[0]?.mode ?? 0) & 0o666).toBe(0o666);
    await worker.message('listening');
    expect(await greeting({ path })).toBe('s');
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(existsSync(path)).toBe(true);
    expect(statSync(path).isSocket()).toBe(true);
  });

  test('a path of --bind, named relative to the working directory', async () => {
    const listener = manager.listen({ kind: 'unix', address: join(directory, 'app.sock') });
    const worker = run('make().listen("./app.sock")', { listeners: [listener], cwd: directory });
    expect(await worker.report('s-listening')).toBe('./app.sock');
    expect((await worker.message('listening')).key).toBe(listener.key);
    expect(await greeting({ path: listener.address })).toBe('s');
  });

  test('an abstract path', async () => {
    const name = `prefork-test-${process.pid}-${engine}`;
    const worker = run(`make().listen("\\0${name}")`);
    expect(await worker.report('s-listening')).toBe(`\0${name}`);
    // Node 20 pads such a name to its full length, the addon does not: they do not meet.
    const pads = Number(process.versions.node.split('.')[0]) < 22;
    if (engine === 'js' || !pads) expect(await greeting({ path: `\0${name}` })).toBe('s');
  });

  test('address() and listening right after listen(port)', async () => {
    const listener = manager.listen();
    const worker = run(
      `const s = make(); s.listen(${listener.boundPort}); say('at-once', [s.listening, s.address()]);
       const t = make('t'); t.listen(0); say('asked', [t.listening, t.address() !== null]);`,
      { listeners: [listener] },
    );
    expect(await worker.report('at-once')).toMatchObject([true, { port: listener.boundPort }]);
    // js has to wait for the answer.
    expect(await worker.report('asked')).toEqual(engine === 'native' ? [true, true] : [false, false]);
    await worker.report('t-listening');
  });

  test('everything on the port of --bind for a server that listens on every address', async () => {
    const first = manager.listen({ address: '127.0.0.1' });
    const second = manager.listen({ address: '127.0.0.2', port: first.boundPort });
    const worker = run(`make().listen(${first.boundPort})`, { listeners: [first, second] });
    await worker.message('listening', ({ key }) => key === first.key);
    await worker.message('listening', ({ key }) => key === second.key);
    expect(await greeting({ port: first.boundPort, host: '127.0.0.1' })).toBe('s');
    expect(await greeting({ port: first.boundPort, host: '127.0.0.2' })).toBe('s');
  });

  test('two servers on two ports, and the operator wins over the host that the program names', async () => {
    const bound = manager.listen({ address: '127.0.0.2' });
    const port = await freePort();
    const worker = run(
      `make('a').listen(${bound.boundPort}, '127.0.0.1'); make('b').listen(${port}, '127.0.0.1')`,
      {
        listeners: [bound],
      },
    );
    expect(await worker.report('a-listening')).toMatchObject({ address: '127.0.0.2' });
    await worker.report('b-listening');
    expect(await greeting({ port, host: '127.0.0.1' })).toBe('b');
    expect(await greeting({ port: bound.boundPort, host: '127.0.0.2' })).toBe('a');
  });

  test('the exact address wins over another on the same port', async () => {
    const first = manager.listen({ address: '127.0.0.1' });
    const second = manager.listen({ address: '127.0.0.2', port: first.boundPort });
    const { boundPort } = first;
    const worker = run(
      `make('two').listen(${boundPort}, '127.0.0.2'); make('one').listen(${boundPort}, '127.0.0.1')`,
      {
        listeners: [first, second],
      },
    );
    await worker.message('listening', ({ key }) => key === first.key);
    await worker.message('listening', ({ key }) => key === second.key);
    expect(await greeting({ port: boundPort, host: '127.0.0.1' })).toBe('one');
    expect(await greeting({ port: boundPort, host: '127.0.0.2' })).toBe('two');
  });

  test('the same address twice is in use, as in plain Node', async () => {
    const port = await freePort();
    const code = `
      const a = make('a'); a.listen(${port}, '127.0.0.1', () => make('b').listen(${port}, '127.0.0.1'));
      a.unref();`;
    const plain = execFileSync(process.execPath, ['-e', SAY + code], { encoding: 'utf8' });
    const worker = run(code);
    const error = await worker.report('b-error');
    expect(`b-error ${JSON.stringify(error)}`).toBe(/^b-error .*$/m.exec(plain)?.[0]);
    expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port });
  });

  test.each([
    ['tcp', "'127.0.0.1'", { errno: -13, code: 'EACCES' }, '127.0.0.1'],
    ['tcp without a host', 'undefined', { errno: -98, code: 'EADDRINUSE' }, '::'],
  ])("the manager's error is Node's own: %s", async (_name, host, refusal, address) => {
    manager.refusals.push(refusal);
    const worker = run(`make().listen(81, ${host})`);
    const error = await worker.report<{ message: string }>('s-error');
    expect(error).toMatchObject({ ...refusal, syscall: 'listen', address, port: 81 });
    expect(error.message).toMatch(new RegExp(`^listen ${refusal.code}: .* ${address}:81$`));
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });

  test('a path that cannot be bound', async () => {
    manager.refusals.push({ errno: -2, code: 'ENOENT' });
    const worker = run('make().listen("/nowhere/app.sock")');
    expect(await worker.report('s-error')).toEqual({
      code: 'ENOENT',
      errno: -2,
      syscall: 'listen',
      address: '/nowhere/app.sock',
      port: -1,
      message: 'listen ENOENT: no such file or directory /nowhere/app.sock',
    });
  });

  test('an unhandled error ends the worker, with its last words', async () => {
    manager.refusals.push({ errno: -98, code: 'EADDRINUSE' });
    const worker = run('net.createServer().listen(81, "127.0.0.1")');
    expect(await worker.exited).toEqual({ code: 1, signal: null });
    expect((await worker.message('lastWords')).text).toContain(
      'listen EADDRINUSE: address already in use 127.0.0.1:81',
    );
  });

  test('invalid arguments are refused as by plain Node', async () => {
    const code = `
      const handle = { fd: -1 };
      const calls = [
        [-1], [65536], ['70000'], ['  '], [1.5], [NaN], [true], [{}], [{ port: true }], [{ port: -1 }], [{ path: '' }], [{ path: 5 }],
        [{ port: '' }], [Symbol.iterator], [{ host: 'x' }], [{ port: 0, signal: 'x' }], [{ path: '\\0a', readableAll: true }],
        [{ fd: -1 }], [0, '127.0.0.1', () => {}, 'x'].slice(0, 1).concat({ toString: 1 }).slice(1),
      ];
      say('errors', calls.map((args) => {
        const server = net.createServer();
        server.on('error', () => {});
        try { server.listen(...args); server.close(); return 'none'; } catch (error) { return [error.name, error.code, error.message]; }
      }));
      const twice = net.createServer().listen(0);
      try { twice.listen(0); } catch (error) { say('twice', [error.name, error.code, error.message]); }
      twice.close();
    `;
    const plain = execFileSync(process.execPath, ['-e', SAY + code], { encoding: 'utf8' });
    const worker = run(code);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(worker.stdout).toBe(plain);
    expect(worker.stdout).toContain('ERR_SERVER_ALREADY_LISTEN');
  });

  test('close() before the answer', async () => {
    const answers: (() => void)[] = [];
    let asked = () => {};
    const question = new Promise<void>((resolve) => {
      asked = resolve;
    });
    if (engine === 'js') {
      manager.hold = (answer) => {
        answers.push(answer);
        asked();
      };
    } else asked();
    const code = `
      const s = make();
      s.listen(0);
      s.close((error) => say('closed', error ? error.code : 'no error'));
      s.on('close', () => say('close event'));
      const t = make('t'); t.listen(0, 'localhost'); t.close((error) => say('t-closed', error.code));
      process.on('message', () => { say('message'); process.exit(0); });
    `;
    const worker = run(code);
    expect(await worker.report('closed')).toBe('no error');
    expect(await worker.report('t-closed')).toBe('ERR_SERVER_NOT_RUNNING');
    await worker.line(/close event/);
    await question;
    for (const answer of answers) answer();
    worker.send({ type: 'user', data: 'end' });
    await worker.exited;
    expect(worker.stdout).not.toContain('listening');
  });

  test('an AbortSignal closes, before and after', async () => {
    const listener = manager.listen({ port: await freePort() });
    const worker = run(
      `
      const early = new AbortController(); early.abort();
      const e = make('early'); e.on('close', () => say('early-closed')); e.listen({ port: 0, signal: early.signal });
      const late = new AbortController();
      const l = make('late'); l.on('close', () => say('late-closed'));
      l.listen({ port: ${listener.boundPort}, signal: late.signal }, () => late.abort());
      `,
      { listeners: [listener] },
    );
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(worker.stdout).toContain('early-closed');
    expect(worker.stdout).toContain('late-closed');
    expect(worker.stdout).not.toContain('early-listening');
    expect(worker.all('unlistening')).toContainEqual({ type: 'unlistening', key: listener.key });
  });

  test('closed and listening again: the manager gives the socket once more', async () => {
    const listener = manager.listen();
    const worker = run(
      `const s = make(); s.listen(${listener.boundPort}, () => s.close(() => s.listen(${listener.boundPort}, '127.0.0.1')));`,
      { listeners: [listener] },
    );
    await worker.message('unlistening');
    await worker.message('listen');
    await worker.line(/s-listening[\s\S]*s-listening/);
    expect(await greeting({ port: listener.boundPort })).toBe('s');
  });

  test('a descriptor from the environment', async () => {
    const listener = manager.listen();
    const worker = run('make().listen({ fd: 3 }, () => say("callback"))', { listeners: [listener] });
    expect((await worker.message('listening')).key).toBe(listener.key);
    expect(await worker.report('s-listening')).toMatchObject({ port: listener.boundPort });
    await worker.line(/^callback/m);
  });

  test("a server of the program's own making: a descriptor and a handle", async () => {
    const own = manager.listen();
    const worker = run(
      `const { _createServerHandle } = net;
       make('handle').listen(_createServerHandle('127.0.0.1', 0, 4));
       make('fd').listen({ fd: _createServerHandle('127.0.0.1', 0, 4).fd });`,
    );
    for (const name of ['handle', 'fd']) {
      const { port } = await worker.report<{ port: number }>(`${name}-listening`);
      expect(await greeting({ port })).toBe(name);
    }
    expect(worker.all('listen')).toEqual([]);
    expect(own.boundPort).toBeGreaterThan(0);
  });

  test("the backlog: the program's, or the operator's", async () => {
    const code = (port: number) => `const s = make(); s.listen(${port}, '127.0.0.1', 7)`;
    const port = await freePort();
    const worker = run(code(port));
    await worker.message('listening');
    expect(worker.all('listen')[0]?.backlog).toBe(7);
    const other = await freePort();
    const ruled = run(code(other), { boot: { backlog: 99 } });
    await ruled.message('listening');
    expect(ruled.all('listen')[0]?.backlog).toBe(99);
  });

  test('a socket that is adopted before the server listens is accepted from when it does', async () => {
    const own = manager.listen();
    const [other, third] = [
      manager.listen({ address: '127.0.0.3' }),
      manager.listen({ address: '127.0.0.4' }),
    ];
    const worker = run(
      `process.on('message', (message) => {
         if (message === 'listen') make().listen(${own.boundPort});
         else process.send(message);
       });`,
      { listeners: [own] },
    );
    worker.send({ type: 'adopt', key: own.key, slot: 3 }, other);
    worker.send({ type: 'adopt', key: own.key, slot: 4 }, third);
    worker.send({ type: 'release', key: own.key, slot: 4 });
    worker.send({ type: 'user', data: 'listen' });
    await worker.message('listening');
    expect(await greeting({ port: other.boundPort, host: '127.0.0.3' })).toBe('s');
    expect(await greeting({ port: own.boundPort, host: '127.0.0.1' })).toBe('s');
  });

  test('another slot’s socket is adopted and released', async () => {
    const own = manager.listen();
    const other = manager.listen({ address: '127.0.0.3' });
    const worker = run(
      `const s = net.createServer({ pauseOnConnect: true }, (c) => { say('accepted', c.localAddress); c.end('s'); c.resume(); });
       s.listen(${own.boundPort}, () => say('up'));
       process.on('message', (message) => process.send(message));`,
      { listeners: [own] },
    );
    await worker.message('listening');
    worker.send({ type: 'adopt', key: own.key, slot: 3 }, other);
    worker.send({ type: 'user', data: 'adopted' });
    await worker.message('user', ({ data }) => data === 'adopted');
    expect(await greeting({ port: other.boundPort, host: '127.0.0.3' })).toBe('s');
    worker.send({ type: 'release', key: own.key, slot: 3 });
    worker.send({ type: 'user', data: 'released' });
    await worker.message('user', ({ data }) => data === 'released');
    // Nobody accepts there now: the connection waits in the queue.
    const waiting = net.connect({ port: other.boundPort, host: '127.0.0.3' }).on('error', () => {});
    await new Promise((resolve) => waiting.once('connect', resolve));
    expect(await greeting({ port: own.boundPort })).toBe('s');
    expect(worker.stdout.match(/127\.0\.0\.3/g)).toHaveLength(1);
    waiting.destroy();
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });
});
