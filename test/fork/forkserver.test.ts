import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { get } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exitOf, Forkserver, type ForkserverOptions } from './forkserver';
import { fixture, nodes } from './run';

const app = (name: string): string => fixture(`apps/${name}`);

interface Answer {
  pid: number;
  ppid: number;
  loadedBy: number;
  slot: string;
  worker: string | null;
  listenPid: string;
  execArgv: string[];
  store: string | null;
}

let upstream: Server;
let upstreamPort: string;
beforeAll(async () => {
  upstream = createServer().listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  upstreamPort = String((upstream.address() as AddressInfo).port);
});
afterAll(() => void upstream.close());

/** By inode: each io_uring has its own. */
function ringsOf(pid: number): number[] {
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
  return descriptors
    .filter((path) => readlinkSync(path) === 'anon_inode:[io_uring]')
    .map((path) => statSync(path).ino);
}

function mappedRingsOf(pid: number): string[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  return lines.filter((line) => line.includes('[io_uring]')).map((line) => line.split(' ')[4] ?? '');
}

describe.each(nodes)('a forkserver of %s', (node) => {
  let server: Forkserver;
  const start = (name: string, options: ForkserverOptions = {}): Forkserver => {
    server = new Forkserver(app(name), { node, ...options });
    return server;
  };
  afterEach(() => server.close());

  test('shares the rings of no event loop with its workers', async () => {
    start('plain.cjs');
    await server.inbox.take('frozen');
    const workers = [await server.fork(), await server.fork()];
    for (const { inbox } of workers) await inbox.take('listening');
    const pids = [server.pid, ...workers.map(({ pid }) => pid)];
    const rings = pids.flatMap(ringsOf);
    expect(new Set(rings).size).toBe(rings.length);
    const mapped = pids.flatMap((pid) => [...new Set(mappedRingsOf(pid))]);
    expect(mapped.map(Number).sort()).toEqual(rings.sort());
  });

  test('loads an unmodified server once and forks workers that serve', async () => {
    start('plain.cjs');
    const frozen = await server.inbox.take('frozen');
    expect(frozen.listens).toEqual([`listen("${server.port}", "127.0.0.1")`]);
    const workers = [await server.fork(), await server.fork()];
    for (const { inbox, pid } of workers) {
      expect(await inbox.take('hello')).toEqual({ type: 'hello', pid });
      await inbox.take('listening');
    }
    const answers = new Map<number, Answer>();
    while (answers.size < 2) {
      const answer = (await server.get('/')) as Answer;
      answers.set(answer.pid, answer);
    }
    for (const [slot, { pid }] of workers.entries()) {
      expect(answers.get(pid)).toEqual({
        pid,
        ppid: process.pid,
        loadedBy: server.pid,
        slot: String(slot),
        worker: null,
        listenPid: String(pid),
        execArgv: [],
        store: 'of the listen',
      });
    }
    for (const { pid } of workers) process.kill(pid, 'SIGTERM');
    const ends = await Promise.all(workers.map(({ ended }) => ended));
    expect(ends.map(exitOf)).toEqual([0, 0]);
    for (const { rusage } of ends) expect(rusage.minorFaults).toBeGreaterThan(0);
    server.closeChannel();
    expect(exitOf(await server.ended)).toBe(0);
    const handlers = server.stdout.trim().split('\n').sort();
    expect(handlers).toEqual(workers.map(({ pid }) => `exit handler ${pid} 0`).sort());
    expect(server.stderr).toBe('');
  });

  test('says what may be shared, and goes on', async () => {
    start('plain.cjs');
    const { notes } = await server.inbox.take('frozen');
    expect(notes.join('\n')).toMatch(/standard stream/);
    expect(notes.join('\n')).toMatch(/listening on 127\.0\.0\.1/);
  });

  test.each([
    ['/exit', 7, ''],
    ['/throw', 1, /^Error: thrown on purpose$[\s\S]*plain\.cjs:/m],
    ['/reject', 1, /^Error: rejected on purpose$/m],
    ['/abort', 'signal 6', /./],
  ])('a worker that is asked for %s ends with %s', async (path, status, stderr) => {
    start('plain.cjs');
    await server.inbox.take('frozen');
    const worker = await server.fork();
    await worker.inbox.take('listening');
    await server.get(path);
    expect(exitOf(await worker.ended)).toBe(status);
    expect(server.stderr).toMatch(stderr);
    const status0 = typeof status === 'number' ? `exit handler ${worker.pid} ${status}\n` : '';
    expect(server.stdout).toBe(status0);
    // The next one is not affected.
    const next = await server.fork();
    await next.inbox.take('listening');
    expect(((await server.get('/')) as Answer).pid).toBe(next.pid);
  });

  test('SIGUSR1 starts the inspector of a worker that hangs', async () => {
    start('plain.cjs', { nodeArgs: ['--inspect-port=127.0.0.1:0'] });
    await server.inbox.take('frozen');
    const worker = await server.fork();
    await worker.inbox.take('listening');
    await server.get('/hang');
    process.kill(worker.pid, 'SIGUSR1');
    // The answer leaves a moment before the loop begins.
    const { url } = await pausedIn(server, 'endless');
    expect(url).toMatch(/plain\.cjs$/);
    process.kill(worker.pid, 'SIGKILL');
    expect(exitOf(await worker.ended)).toBe('signal 9');
  });

  test('a hundred workers have no random value twice', { timeout: 300_000 }, async () => {
    start('random.cjs');
    await server.inbox.take('frozen');
    const seen = new Map<string, string>();
    const sames = new Set<string>();
    for (let batch = 0; batch < 10; batch++) {
      const workers = await Promise.all(Array.from({ length: 10 }, () => server.fork()));
      for (const { inbox, ended, pid } of workers) {
        const { unique, same } = (await inbox.take('user')).data as { unique: object; same: unknown };
        for (const [source, value] of Object.entries(unique)) {
          const where = `${source} of ${pid}`;
          expect(seen.get(String(value)), `as ${where}`).toBeUndefined();
          seen.set(String(value), where);
        }
        sames.add(JSON.stringify(same));
        expect(exitOf(await ended)).toBe(0);
      }
    }
    expect(seen.size).toBe(1900);
    expect(sames.size).toBe(1);
    expect(JSON.parse([...sames][0]!)).toMatchObject({
      reused: '07'.repeat(32),
      zeros: '00'.repeat(48),
      memory: true,
    });
  });

  test('an ES module is forked in the middle of a top-level await', async () => {
    start('esm.mjs');
    await server.inbox.take('frozen');
    const workers = [await server.fork(), await server.fork()];
    for (const { inbox } of workers) await inbox.take('listening');
    const { loadedBy, after } = (await server.get('/')) as { loadedBy: number; after: string };
    expect({ loadedBy, after }).toEqual({ loadedBy: server.pid, after: 'listening' });
    for (const { pid } of workers) process.kill(pid, 'SIGTERM');
    for (const { ended } of workers) expect(exitOf(await ended)).toBe(0);
  });

  test('calls beforeFork once, afterFork in every worker, and forks at the fork point', async () => {
    start('hooks.cjs', { env: { UPSTREAM: upstreamPort } });
    expect((await server.inbox.take('frozen')).listens).toEqual([]);
    for (const slot of [0, 1]) {
      const worker = await server.fork();
      await worker.inbox.take('listening');
      expect(await server.get('/')).toEqual({
        seen: ['slot null', 'warmup', 'beforeFork', 'afterFork', 'forkPoint'],
        slot,
        connected: true,
      });
      process.kill(worker.pid, 'SIGTERM');
      expect(exitOf(await worker.ended)).toBe(0);
    }
    expect(server.stdout).toBe('drains\n'.repeat(2));
  });

  describe.each([
    ['socket', /an open TCP socket/],
    ['udp', /an open UDP socket/],
    ['childProcess', /an open Unix socket|an open pipe/],
    ['file', /an open file, .*unsafe\.cjs/],
    ['stream', /an open file, .*unsafe\.cjs/],
    ['fileHandle', /an open file, .*unsafe\.cjs/],
    ['thread', /a thread of worker_threads/],
    ['inspector', /the inspector, which listens on ws:/],
    ['session', /a session of the inspector/],
  ])('with %s open at the fork point', (what, expected) => {
    test('refuses, and names it and its place', async () => {
      start('unsafe.cjs', { args: [what], env: { UPSTREAM: upstreamPort } });
      const { problems, refused } = await server.inbox.take('unsafe');
      expect(refused).toBe(true);
      expect(problems.join('\n')).toMatch(expected);
      if (what !== 'inspector') expect(problems.join('\n')).toMatch(/unsafe\.cjs:\d+:\d+/);
      expect(exitOf(await server.ended)).toBe(1);
      expect(server.stderr).toMatch(expected);
      expect(server.stderr).toMatch(/beforeFork\(\)/);
    });

    test('goes on with a warning where it is told to', async () => {
      start('unsafe.cjs', { args: [what], env: { UPSTREAM: upstreamPort }, boot: { safety: 'warn' } });
      expect((await server.inbox.take('unsafe')).refused).toBe(false);
      await server.inbox.take('frozen');
      const worker = await server.fork();
      await worker.inbox.take('listening');
      expect(await server.get('/')).toEqual({});
    });
  });
});

interface InspectorEvent {
  method?: string;
  params: {
    scriptId: string;
    url: string;
    callFrames: readonly { functionName: string; location: { scriptId: string } }[];
  };
}

/** Where the hung main thread is, by the protocol of the inspector, which a thread of its own answers. */
/** Pauses until the innermost frame is of that function, at most a thousand times. */
async function pausedIn(server: Forkserver, name: string): Promise<{ url: string | undefined }> {
  let url: string | undefined;
  while (url === undefined) {
    url = /ws:\/\/\S+/.exec(server.stderr)?.[0];
    await new Promise(setImmediate);
  }
  const socket = await openWebSocket(url);
  let id = 0;
  const call = (method: string) => socket.write(maskedFrame(JSON.stringify({ id: ++id, method })));
  for (const method of ['Debugger.enable', 'Debugger.pause']) call(method);
  const scripts = new Map<string, string>();
  for await (const text of messages(socket)) {
    const { method, params } = JSON.parse(text) as InspectorEvent;
    if (method === 'Debugger.scriptParsed') scripts.set(params.scriptId, params.url);
    if (method !== 'Debugger.paused') continue;
    const [frame] = params.callFrames;
    if (frame?.functionName === name) return { url: scripts.get(frame.location.scriptId) };
    if (id > 2000) throw new Error(`${name} was never the innermost function, but ${frame?.functionName}`);
    for (const method of ['Debugger.resume', 'Debugger.pause']) call(method);
  }
  throw new Error('the inspector ended the connection');
}

async function openWebSocket(url: string): Promise<Socket> {
  const request = get(url.replace('ws:', 'http:'), {
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    },
  });
  const [, socket] = (await once(request, 'upgrade')) as [unknown, Socket];
  return socket;
}

/** RFC 6455: a short text message of a client's, masked with zeros. */
function maskedFrame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}

/** The texts of unmasked, unfragmented frames. */
async function* messages(socket: Socket): AsyncGenerator<string> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    for (;;) {
      const short = bytes[1] ?? 0;
      const header = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < header) break;
      const length =
        header === 2 ? short : header === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < header + length) break;
      yield bytes.toString('utf8', header, header + length);
      bytes = bytes.subarray(header + length);
    }
  }
}
