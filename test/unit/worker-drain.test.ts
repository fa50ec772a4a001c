import * as http2 from 'node:http2';
import type { NetConnectOpts } from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RawConnection } from '../helpers/raw-connection';
import { DIST, type TestListener, TestManager, type TestWorker } from '../helpers/worker-harness';

const FIXTURES = join(__dirname, '../fixtures');
const BODY = 'x'.repeat(20);
const CLOSE = /^connection: close$/im;
const CLEAN = { code: 0, signal: null };

let manager: TestManager;
let listener: TestListener;
let connections: RawConnection[];

beforeEach(() => {
  manager = new TestManager('native');
  listener = manager.listen();
  connections = [];
});
afterEach(async () => {
  for (const connection of connections) connection.close();
  await manager.close();
});

async function serve(
  options: Record<string, unknown> = {},
  lingerMs: number | null = null,
): Promise<TestWorker> {
  const worker = manager.spawn({
    entry: 'worker-server.js',
    args: [JSON.stringify({ listen: [listener.boundPort], ...options })],
    listeners: [listener],
    boot: { lingerMs },
    env: { TEST_KEY: join(FIXTURES, 'worker-key.pem'), TEST_CERT: join(FIXTURES, 'worker-cert.pem') },
  });
  await worker.message('listening');
  return worker;
}

async function connect(options: Partial<NetConnectOpts> = {}): Promise<RawConnection> {
  const connection = await RawConnection.open({ port: listener.boundPort, ...options } as NetConnectOpts);
  connections.push(connection);
  return connection;
}

/** A connection that has been accepted and answered once. */
async function idleConnection(): Promise<RawConnection> {
  const connection = await connect();
  connection.get('/');
  await connection.until(BODY);
  connection.received = '';
  return connection;
}

async function stop(worker: TestWorker, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  worker.signal(signal);
  await worker.message('draining');
}

const release = (worker: TestWorker) => worker.send({ type: 'user', data: 'release' });

describe('HTTP/1', () => {
  test.each(['SIGTERM', 'SIGQUIT'] as const)(
    '%s: what is in flight is answered with Connection: close, then exit 0',
    async (signal) => {
      const worker = await serve();
      const connection = await connect();
      connection.get('/hold');
      await worker.line(/held/);
      await stop(worker, signal);
      worker.signal(signal);
      expect(connection.received).toBe('');
      release(worker);
      await connection.until(BODY);
      expect(connection.heads()).toHaveLength(1);
      expect(connection.heads()[0]).toMatch(CLOSE);
      expect(await connection.ended).toBe('end');
      connection.close();
      expect(await worker.exited).toEqual(CLEAN);
      expect(worker.all('draining')).toHaveLength(1);
      expect(worker.all('unlistening')).toEqual([{ type: 'unlistening', key: listener.key }]);
    },
  );

  test.each([{ explicitKeepAlive: true, path: '/' }, { path: '/head-object' }])(
    'a program that says keep-alive itself is overruled: %o',
    async ({ path, ...options }) => {
      const worker = await serve(options);
      const connection = await idleConnection();
      await stop(worker);
      connection.get(path);
      await connection.until(BODY);
      expect(connection.heads()[0]).toMatch(CLOSE);
      expect(connection.heads()[0]).not.toMatch(/connection: keep-alive/i);
      expect(await connection.ended).toBe('end');
    },
  );

  test('an answer whose headers promised keep-alive keeps the promise: the next one closes', async () => {
    const worker = await serve();
    const connection = await connect();
    connection.get('/hold-body');
    await worker.line(/held/);
    await connection.until('\r\n\r\n');
    await stop(worker);
    release(worker);
    await connection.until(BODY);
    expect(connection.heads()[0]).not.toMatch(CLOSE);
    connection.get('/');
    await connection.until(BODY, 2);
    expect(connection.heads()[1]).toMatch(CLOSE);
    expect(await connection.ended).toBe('end');
  });

  test('an idle connection is served once more; one that stays idle is ended after the linger time, not reset', async () => {
    const worker = await serve({}, 1000);
    const [used, unused, fresh] = [await idleConnection(), await idleConnection(), await connect()];
    await stop(worker);
    used.get('/');
    expect(await used.until(BODY)).toContain('200 OK');
    expect(used.heads()[0]).toMatch(CLOSE);
    expect(await unused.ended).toBe('end');
    expect(await fresh.ended).toBe('end');
    expect(unused.received + fresh.received).toBe('');
    for (const connection of connections) connection.close();
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('a fresh connection, and a request sent in halves, are served', async () => {
    const worker = await serve({ tellAccepted: true }, 1000);
    const unused = await idleConnection();
    const half = await connect();
    half.send('GET / HTTP/1.1\r\nHo');
    const halfAgain = await idleConnection();
    halfAgain.send('GET / HT');
    const fresh = await connect();
    await worker.line(/(accepted[\s\S]*){4}/);
    await stop(worker);
    fresh.get('/');
    await fresh.until(BODY);
    // By then idle ones have lingered out.
    expect(await unused.ended).toBe('end');
    half.send('st: x\r\n\r\n');
    halfAgain.send('TP/1.1\r\nHost: x\r\n\r\n');
    for (const connection of [half, halfAgain]) {
      await connection.until(BODY);
      expect(connection.heads()[0]).toMatch(CLOSE);
    }
  });

  test('of pipelined requests that have come all are answered, the last one with Connection: close', async () => {
    const worker = await serve();
    const connection = await connect();
    for (let i = 0; i < 3; i++) connection.get('/hold');
    await worker.line(/(held[\s\S]*){3}/);
    await stop(worker);
    release(worker);
    await connection.until(BODY, 3);
    expect(connection.heads().map((head) => CLOSE.test(head))).toEqual([false, false, true]);
    expect(await connection.ended).toBe('end');
  });

  test('requests behind a close are dropped without a reset', async () => {
    const worker = await serve();
    const connection = await idleConnection();
    await stop(worker);
    connection.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(200));
    await connection.until(BODY);
    expect(connection.heads()[0]).toMatch(CLOSE);
    expect(await connection.ended).toBe('end');
    connection.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2000));
    connection.socket.end();
    await new Promise((resolve) => connection.socket.once('close', resolve));
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('an upload that is answered before it has come can be sent to its end', async () => {
    const worker = await serve();
    const connection = await connect();
    const piece = 'y'.repeat(100_000);
    connection.send(`POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: ${piece.length * 40}\r\n\r\n`);
    connection.send(piece);
    await worker.line(/held/);
    await stop(worker);
    release(worker);
    await connection.until(BODY);
    expect(connection.heads()[0]).toMatch(CLOSE);
    for (let i = 1; i < 40; i++) {
      await new Promise<void>((resolve, reject) => {
        connection.socket.write(piece, 'latin1', (error) => (error ? reject(error) : resolve()));
      });
    }
    expect(await connection.ended).toBe('end');
    connection.socket.end();
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('an upload during the drain is read before it is answered', async () => {
    const worker = await serve();
    const connection = await idleConnection();
    await stop(worker);
    connection.send('POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n');
    await connection.until('100 Continue');
    connection.send('abcdef');
    await connection.until(BODY);
    expect(connection.heads()[1]).toMatch(CLOSE);
    expect(await connection.ended).toBe('end');
  });

  test('a client that does not close is left after two quiet seconds', async () => {
    const worker = await serve();
    const connection = await idleConnection();
    await stop(worker);
    connection.get('/');
    expect(await connection.ended).toBe('end');
    // Its own end stays open.
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('an upgraded connection goes on until it ends', async () => {
    const worker = await serve({ upgrade: true }, 100);
    const connection = await connect();
    connection.get('/', 'Connection: Upgrade\r\nUpgrade: echo\r\n');
    await connection.until('101 Switching');
    const unused = await connect();
    unused.get('/');
    await unused.until(BODY);
    await stop(worker);
    expect(await unused.ended).toBe('end');
    connection.send('still here');
    await connection.until('still here');
    unused.close();
    connection.socket.end();
    expect(await worker.exited).toEqual(CLEAN);
  });

  test("a program's own SIGTERM handler: its close() drains in the same way, and calls back", async () => {
    const worker = await serve({ ownHandler: true }, 1000);
    const [used, unused, busy] = [await idleConnection(), await idleConnection(), await connect()];
    busy.get('/hold');
    await worker.line(/held/);
    worker.signal('SIGTERM');
    await worker.line(/own handler/);
    await worker.message('unlistening');
    used.get('/');
    await used.until(BODY);
    expect(used.heads()[0]).toMatch(CLOSE);
    expect(await unused.ended).toBe('end');
    release(worker);
    await busy.until(BODY);
    expect(busy.heads()[0]).toMatch(CLOSE);
    expect(await busy.ended).toBe('end');
    expect(worker.stdout).not.toContain('closed');
    for (const connection of connections) connection.close();
    await worker.line(/closed/);
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.all('draining')).toHaveLength(1);
  });

  test('without a stop close() is plain', async () => {
    const code = `
      const server = require('node:http').createServer((q, r) => r.end('${BODY}'));
      server.listen(${listener.boundPort});
      process.on('message', () => server.close(() => process.exit(5)));`;
    const worker = manager.spawn({ code, listeners: [listener] });
    await worker.message('listening');
    const connection = await idleConnection();
    worker.send({ type: 'user', data: 'close' });
    // Node closes idle connections at once.
    await connection.ended;
    expect(await worker.exited).toEqual({ code: 5, signal: null });
  });
});

describe('TLS', () => {
  const secure = (connection: RawConnection, alpn: string) =>
    new Promise<tls.TLSSocket>((resolve, reject) => {
      const socket = tls.connect({
        socket: connection.socket,
        rejectUnauthorized: false,
        ALPNProtocols: [alpn],
      });
      socket.once('secureConnect', () => resolve(socket)).once('error', reject);
    });

  test('a handshake under way is finished and its request served; one that does not come is ended', async () => {
    const worker = await serve({ protocol: 'https', tellAccepted: true }, 500);
    const [first, second, never] = [await connect(), await connect(), await connect()];
    await worker.line(/(accepted[\s\S]*){3}/);
    first.socket.removeAllListeners('data');
    second.socket.removeAllListeners('data');
    const early = await secure(first, 'http/1.1');
    await stop(worker);
    const late = await secure(second, 'http/1.1');
    for (const socket of [early, late]) {
      const connection = new RawConnection(socket);
      connection.get('/');
      await connection.until(BODY);
      expect(connection.heads()[0]).toMatch(CLOSE);
      expect(await connection.ended).toBe('end');
      socket.destroy();
    }
    expect(['end', 'closed', 'ECONNRESET']).toContain(await never.ended);
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('HTTP/1 on an HTTP/2 server', async () => {
    const worker = await serve({ protocol: 'http2', allowHTTP1: true });
    const plain = await connect();
    plain.socket.removeAllListeners('data');
    const connection = new RawConnection(await secure(plain, 'http/1.1'));
    connection.get('/');
    await connection.until(BODY);
    await stop(worker);
    connection.get('/');
    await connection.until(BODY, 2);
    expect(connection.heads().map((head) => CLOSE.test(head))).toEqual([false, true]);
    expect(await connection.ended).toBe('end');
    connection.close();
    expect(await worker.exited).toEqual(CLEAN);
  });
});

describe('HTTP/2', () => {
  const open = (protocol: 'h2c' | 'http2') =>
    new Promise<http2.ClientHttp2Session>((resolve, reject) => {
      const scheme = protocol === 'h2c' ? 'http' : 'https';
      const session = http2.connect(`${scheme}://127.0.0.1:${listener.boundPort}`, {
        rejectUnauthorized: false,
      });
      session.once('error', reject);
      session.once('connect', () => resolve(session));
    });
  const request = (session: http2.ClientHttp2Session, path: string) =>
    new Promise<string>((resolve, reject) => {
      let text = '';
      const stream = session.request({ ':path': path });
      stream.setEncoding('utf8').on('data', (data) => {
        text += data;
      });
      stream.on('end', () => resolve(text)).on('error', reject);
    });
  const goaways = (session: http2.ClientHttp2Session) => {
    const ids: number[] = [];
    session.on('goaway', (_code, id) => ids.push(id));
    return ids;
  };
  const closed = (session: http2.ClientHttp2Session) =>
    new Promise<void>((resolve) => session.once('close', resolve));

  test.each(['h2c', 'http2'] as const)(
    '%s: GOAWAY twice, streams under way finish, the session ends',
    async (protocol) => {
      const worker = await serve({ protocol });
      const session = await open(protocol);
      const ids = goaways(session);
      const end = closed(session);
      expect(await request(session, '/')).toBe(BODY);
      const held = request(session, '/hold');
      await worker.line(/held/);
      await stop(worker);
      await new Promise((resolve) => session.once('goaway', () => session.once('goaway', resolve)));
      release(worker);
      expect(await held).toBe(BODY);
      await end;
      expect(ids.slice(0, 2)).toEqual([2 ** 31 - 1, 3]);
      expect(await worker.exited).toEqual(CLEAN);
    },
  );

  test.each(['h2c', 'http2'] as const)(
    '%s: an idle session is served once more, or lingers out',
    async (protocol) => {
      const worker = await serve({ protocol }, 1000);
      const [used, unused] = [await open(protocol), await open(protocol)];
      await Promise.all([request(used, '/'), request(unused, '/')]);
      const ids = goaways(unused);
      const ends = [closed(used), closed(unused)];
      await stop(worker);
      expect(await request(used, '/')).toBe(BODY);
      await Promise.all(ends);
      expect(ids[0]).toBe(1);
      expect(await worker.exited).toEqual(CLEAN);
    },
  );

  test.each(['h2c', 'http2'] as const)(
    "%s: a program's own handler closes, and the session drains",
    async (protocol) => {
      const worker = await serve({ protocol, ownHandler: true }, 1000);
      const session = await open(protocol);
      const end = closed(session);
      const held = request(session, '/hold');
      await worker.line(/held/);
      worker.signal('SIGTERM');
      await worker.line(/own handler/);
      release(worker);
      expect(await held).toBe(BODY);
      await end;
      await worker.line(/closed/);
      expect(await worker.exited).toEqual(CLEAN);
    },
  );
});

describe('the rest', () => {
  test('a plain TCP connection may finish', async () => {
    const worker = await serve({ protocol: 'net' }, 100);
    const connection = await connect();
    connection.send('one');
    await connection.until('one');
    await stop(worker);
    connection.send('two');
    await connection.until('two');
    connection.socket.end();
    expect(await connection.ended).toBe('end');
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('when the pool stops, what waits in the accept queue is served', async () => {
    const worker = await serve({}, 1000);
    worker.send({ type: 'poolStops' });
    worker.send({ type: 'user', data: 'echo' });
    await worker.message('user', ({ data }) => data === 'echo');
    worker.signal('SIGSTOP');
    const queued = [await connect(), await connect(), await connect()];
    for (const connection of queued) connection.get('/');
    worker.signal('SIGTERM');
    worker.signal('SIGCONT');
    for (const connection of queued) {
      await connection.until(BODY);
      expect(await connection.ended).toBe('end');
      connection.close();
    }
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('a worker that leaves alone leaves the queue to another', async () => {
    const worker = await serve();
    worker.signal('SIGSTOP');
    const queued = [await connect(), await connect()];
    for (const connection of queued) connection.get('/');
    worker.signal('SIGTERM');
    const other = await serve();
    for (const connection of queued) await connection.until(`X-Pid: ${other.pid}`);
    worker.signal('SIGCONT');
    expect(await worker.exited).toEqual(CLEAN);
    for (const connection of queued) expect(connection.heads()[0]).not.toMatch(CLOSE);
  });

  test('onDrain(): called at the start, awaited, told when the last connection has ended', async () => {
    const code = `
      const { onDrain } = require(${JSON.stringify(join(DIST, 'worker.js'))});
      require('node:http').createServer((q, r) => { globalThis.r = r; console.log('held'); }).listen(${listener.boundPort});
      onDrain(async ({ reason, drained }) => {
        console.log('begin', reason);
        r.end('${BODY}');
        await drained;
        console.log('drained');
        await new Promise((resolve) => setImmediate(resolve));
        console.log('end');
      });`;
    const worker = manager.spawn({ code, listeners: [listener] });
    await worker.message('listening');
    const connection = await connect();
    connection.get('/');
    await worker.line(/held/);
    worker.signal('SIGTERM');
    await connection.until(BODY);
    expect(await connection.ended).toBe('end');
    connection.close();
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.stdout).toBe('held\nbegin SIGTERM\ndrained\nend\n');
  });

  test('onDrain() that fails: exit 1 with its error', async () => {
    const code = `
      require(${JSON.stringify(join(DIST, 'worker.js'))}).onDrain(() => { throw new Error('cannot flush'); });
      setInterval(() => {}, 1e6); console.log('up');`;
    const worker = manager.spawn({ code });
    await worker.line(/up/);
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual({ code: 1, signal: null });
    expect(worker.stderr).toContain('Error: cannot flush');
    expect((await worker.message('lastWords')).text).toContain('Error: cannot flush');
  });

  test('a worker without a server leaves at once', async () => {
    const worker = manager.spawn({ code: 'setInterval(() => {}, 1e6); console.log("up")' });
    await worker.line(/up/);
    worker.signal('SIGTERM');
    expect(await worker.exited).toEqual(CLEAN);
  });

  test('UDP: no datagram is read after the signal, answers under way are sent', async () => {
    const udp = manager.listen({ kind: 'udp' });
    const { createSocket } = await import('node:dgram');
    const code = `
      const socket = require('node:dgram').createSocket('udp4');
      let late;
      socket.on('message', (text, from) => { late = () => socket.send('re: ' + text, from.port, from.address); console.log('got', String(text)); });
      process.on('message', () => late());
      socket.bind(${udp.boundPort}, '127.0.0.1', () => console.log('bound', socket.address().port));`;
    const worker = manager.spawn({ code, listeners: [udp] });
    expect((await worker.message('listening')).protocol).toBe('udp');
    await worker.line(new RegExp(`bound ${udp.boundPort}`));
    const client = createSocket('udp4');
    const answer = new Promise<string>((resolve) => client.once('message', (text) => resolve(String(text))));
    client.send('one', udp.boundPort, '127.0.0.1');
    await worker.line(/got one/);
    await stop(worker);
    client.send('two', udp.boundPort, '127.0.0.1');
    worker.send({ type: 'user', data: 'answer' });
    expect(await answer).toBe('re: one');
    expect(await worker.exited).toEqual(CLEAN);
    expect(worker.stdout).not.toContain('two');
    client.close();
  });
});
