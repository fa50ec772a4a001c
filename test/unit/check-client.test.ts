/** The strict client forgives nothing, and complains of nothing that is right. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp2, type Http2Server } from 'node:http2';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FailureKind, StrictClient, type StrictClientOptions } from '../../src/check/client';
import { freePorts } from '../helpers/ports';
import { fixture } from '../helpers/service';

const certificate = { TEST_KEY: fixture('worker-key.pem'), TEST_CERT: fixture('worker-cert.pem') };
const REQUESTS = 3;

async function start(...args: string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [fixture('mean-server.js'), ...args], {
    env: { ...process.env, ...certificate },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout!.setEncoding('utf8'), 'data')) as [string];
  return { child, port: Number(line.split(' ')[1]) };
}

/** Kinds of the failures of one connection until some requests are over. */
async function kindsOf(options: Partial<StrictClientOptions>, requests = REQUESTS): Promise<FailureKind[]> {
  const client = new StrictClient({ protocol: 'http', keepAlive: 1, oneShot: 0, ...options }).start();
  await client.settled(requests);
  const report = await client.stop();
  expect(report.failed).toBe(report.failures.length);
  expect(report.requests + report.failed).toBeGreaterThanOrEqual(requests);
  return [...new Set(report.failures.map(({ kind }) => kind))];
}

describe('HTTP/1', () => {
  let plain: Awaited<ReturnType<typeof start>>;
  let secure: Awaited<ReturnType<typeof start>>;
  beforeAll(async () => {
    [plain, secure] = await Promise.all([start(), start('tls')]);
  });
  afterAll(async () => {
    for (const { child } of [plain, secure]) child.kill('SIGKILL');
    await Promise.all(
      [plain, secure].map(({ child }) => child.exitCode ?? child.signalCode ?? once(child, 'exit')),
    );
  });

  test.each(['/', '/chunked', '/until-end', '/early-hints', '/goodbye'])('%s is right', async (path) => {
    expect(await kindsOf({ port: plain.port, path })).toEqual([]);
    expect(await kindsOf({ port: plain.port, path, keepAlive: 0, oneShot: 1 })).toEqual([]);
  });

  test.each([
    ['/reset', 'reset'],
    ['/closed', 'closed'],
    // The first request is answered; the next finds the connection ended without a word.
    ['/silent-goodbye', 'closed'],
    ['/short', 'short'],
    ['/short-head', 'short'],
    ['/short-chunk', 'short'],
    ['/status', 'status'],
    ['/no-content', 'status'],
    ['/excess', 'excess'],
    ['/malformed', 'malformed'],
    ['/endless', 'malformed'],
    ['/timeout', 'timeout'],
  ] as const)('%s is %s', async (path, kind) => {
    expect(await kindsOf({ port: plain.port, path, timeoutMs: kind === 'timeout' ? 50 : 20_000 })).toEqual([
      kind,
    ]);
  });

  test('other statuses are right where they are expected', async () => {
    const expects = (status: number): boolean => status !== 200;
    expect(await kindsOf({ port: plain.port, path: '/no-content', expects })).toEqual([]);
    expect(await kindsOf({ port: plain.port, path: '/', expects })).toEqual(['status']);
  });

  test('a port that nobody listens on is refused', async () => {
    const [port = 0] = await freePorts(1);
    expect(await kindsOf({ port })).toEqual(['refused']);
  });

  test('a certificate has to be trusted, and made for the name', async () => {
    const { port } = secure;
    const caFile = certificate.TEST_CERT;
    expect(await kindsOf({ protocol: 'https', port })).toEqual(['tls']);
    expect(await kindsOf({ protocol: 'https', port, caFile })).toEqual([]);
    expect(await kindsOf({ protocol: 'https', port, caFile, servername: '127.0.0.1' })).toEqual([]);
    expect(await kindsOf({ protocol: 'https', port, caFile, servername: 'other.test' })).toEqual(['tls']);
    expect(await kindsOf({ protocol: 'https', port, servername: 'other.test', insecure: true })).toEqual([]);
  });

  test('TLS to a server without it, and HTTP/2 to one that has HTTP/1 alone', async () => {
    expect(await kindsOf({ protocol: 'https', port: plain.port })).toEqual(['tls']);
    expect(await kindsOf({ protocol: 'http2', port: secure.port, insecure: true })).toEqual(['tls']);
  });
});

describe('HTTP/2', () => {
  let server: Http2Server;
  let port: number;
  let refusals = 0;
  beforeAll(async () => {
    server = createHttp2();
    server.on('session', (session) => session.on('error', () => {}));
    server.on('stream', (stream, headers) => {
      const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR } = require('node:http2').constants;
      stream.on('error', () => {});
      const path = headers[':path'];
      if (refusals > 0) {
        refusals--;
        stream.close(NGHTTP2_REFUSED_STREAM);
      } else if (path === '/reset') stream.close(NGHTTP2_INTERNAL_ERROR);
      else if (path === '/short') {
        stream.respond({ ':status': 200, 'content-length': 10 }, { endStream: false });
        stream.write('hello', () => stream.close(NGHTTP2_INTERNAL_ERROR));
      } else if (path === '/destroy') stream.session?.destroy();
      else if (path === '/timeout') stream.respond({ ':status': 200 });
      else {
        stream.respond({ ':status': path === '/status' ? 503 : 200 });
        stream.end('hello');
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as { port: number }).port;
  });
  afterAll(async () => {
    await once(server.close(), 'close');
  });

  test.each([
    ['/', []],
    ['/reset', ['reset']],
    ['/short', ['short']],
    ['/status', ['status']],
    ['/timeout', ['timeout']],
  ] as const)('%s is %j', async (path, kinds) => {
    const timeoutMs = path === '/timeout' ? 50 : 20_000;
    expect(await kindsOf({ protocol: 'h2c', port, path, timeoutMs })).toEqual(kinds);
  });

  test('a session that is cut off fails its stream', async () => {
    const [kind] = await kindsOf({ protocol: 'h2c', port, path: '/destroy' }, 1);
    expect(['closed', 'reset']).toContain(kind);
  });

  test('a stream refused is sent again, once', async () => {
    const target = { protocol: 'h2c', port, keepAlive: 1, oneShot: 0 } as const;
    refusals = 1;
    const client = new StrictClient(target).start();
    await client.settled(1);
    expect(await client.stop()).toMatchObject({ failed: 0, retried: 1 });
    refusals = 2;
    expect(await kindsOf(target, 1)).toEqual(['stream-refused']);
    expect(refusals).toBe(0);
  });

  test('HTTP/1 to it is malformed or ends', async () => {
    const [kind] = await kindsOf({ protocol: 'http', port }, 1);
    expect(['malformed', 'closed', 'reset', 'short']).toContain(kind);
  });
});
