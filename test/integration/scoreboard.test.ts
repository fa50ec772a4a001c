/** What workers tell of themselves, as the status of a real service shows it. */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { get as getHttp, type IncomingMessage } from 'node:http';
import { get as getHttps } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RowStatus, Status } from '../../src/control/protocol';
import { freePorts } from '../helpers/ports';
import { fixture, Service, type StartOptions } from '../helpers/service';
import { statusOf, statusWhere } from '../helpers/status';

const SERVER = fixture('server.js');

let directory: string;
let control: string;
let service: Service | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  control = join(directory, 'control');
});
afterEach(async () => {
  await service?.dispose();
  service = undefined;
  rmSync(directory, { recursive: true });
});

const rows = ({ workers }: Status): RowStatus[] => workers.map(({ row }) => row!);
const sum = (status: Status, of: (row: RowStatus) => number): number =>
  rows(status).reduce((total, row) => total + of(row), 0);
const haveRows = ({ workers }: Status): boolean => workers.every(({ row }) => row !== null);

async function start(args: readonly string[], options: StartOptions = {}) {
  service = Service.start(['-w', '2', '--control', control, ...args], options);
  return { service, ...(await service.serving()) };
}

async function get(port: number, path = '/'): Promise<string> {
  const request = getHttp({ port, host: '127.0.0.1', path, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return text(response);
}

describe.each([
  ['native', []],
  ['native', ['--preload']],
  ['js', []],
] as const)('the scoreboard of workers, %s engine %s', (engine, more) => {
  const startServer = (args: readonly string[] = []) =>
    start([...more, '-b', '127.0.0.1:0', ...args, SERVER], { engine });

  it('counts every request, connection and byte, and shows load and memory', async () => {
    const { service, port, pids } = await startServer();
    const before = await statusWhere(control, haveRows);
    expect(before.workers.map(({ pid }) => pid).sort()).toEqual([...pids].sort());
    for (let i = 0; i < 20; i++) expect(await get(port)).toBe('ok\n');
    const after = await statusWhere(control, (status) => sum(status, (row) => row.requests) >= 20);
    expect(sum(after, (row) => row.requests)).toBe(20);
    const idle = await statusWhere(control, (status) => sum(status, (row) => row.connections) === 0);
    expect(sum(idle, (row) => row.bytesRead)).toBeGreaterThan(20 * 20);
    expect(sum(idle, (row) => row.bytesWritten)).toBeGreaterThan(20 * 20);
    for (const row of rows(idle)) {
      expect(row.activity).toBe('idle');
      expect(row.rssBytes).toBeGreaterThan(10 * 1_048_576);
      expect(row.heapBytes).toBeGreaterThan(1_048_576);
      expect(row.utilisation).toBeLessThanOrEqual(1);
      expect(row.heartbeatMs).not.toBeNull();
    }
    expect((await service.stop()).code).toBe(0);
  });

  it('shows who is busy and who drains', async () => {
    const { service, port } = await startServer();
    await statusWhere(control, haveRows);
    const slow = getHttp({ port, host: '127.0.0.1', path: '/hold', agent: false });
    const [response] = (await once(slow, 'response')) as [IncomingMessage];
    const busy = await statusWhere(control, (status) => rows(status).some((row) => row.activity === 'busy'));
    expect(
      rows(busy)
        .map(({ activity }) => activity)
        .sort(),
    ).toEqual(['busy', 'idle']);
    expect(sum(busy, (row) => row.connections)).toBe(1);
    const { pid } = busy.workers.find(({ row }) => row?.activity === 'busy')!;
    process.kill(pid!, 'SIGTERM');
    const draining = (status: Status): boolean =>
      status.workers.some((w) => w.pid === pid && w.row?.activity === 'draining');
    await statusWhere(control, draining);
    const ended = text(response);
    process.kill(pid!, 'SIGUSR2');
    expect(await ended).toContain('released');
    await service.event('worker-exited', (line) => line.pid === pid);
    expect((await service.stop()).code).toBe(0);
  });

  it('begins anew with each worker, and says how the last one ended', async () => {
    const { service, port } = await startServer();
    for (let i = 0; i < 10; i++) await get(port);
    await get(port, '/exit').catch(() => '');
    const { pid, slot } = await service.event('worker-exited');
    await service.event('worker-ready', (line) => line.slot === slot);
    const fits = (status: Status): boolean => status.workersReady === 2 && haveRows(status);
    const { workers } = await statusWhere(control, fits);
    const fresh = workers.find((w) => w.slot === slot)!;
    expect(fresh).toMatchObject({
      row: { requests: 0, connections: 0, bytesRead: 0 },
      lastExit: { pid, how: 'exited with code 7', status: 0x700, expected: false },
    });
    expect(workers.find((w) => w.slot !== slot)!.lastExit).toBeNull();
    expect((await service.stop()).code).toBe(0);
  });

  it('leaves the program no descriptor and no variable, and is off where it is not wanted', async () => {
    const { service, pids, port } = await startServer(['--no-scoreboard']);
    const status = await statusOf(control, true);
    expect(status.workers.map(({ row }) => row)).toEqual([null, null]);
    for (const pid of pids) expect(readFileSync(`/proc/${pid}/maps`, 'utf8')).not.toContain('prefork-row');
    for (const { memory } of status.workers) {
      expect(memory!.rssBytes).toBeGreaterThanOrEqual(memory!.pssBytes);
      expect(memory!.pssBytes).toBeGreaterThanOrEqual(memory!.privateBytes);
      expect(memory!.privateBytes).toBeGreaterThan(0);
    }
    expect(await get(port)).toBe('ok\n');
    expect((await service.stop()).code).toBe(0);

    const { service: on, pids: workers } = await startServer();
    await statusWhere(control, haveRows);
    for (const pid of workers) {
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
      expect(open.filter((target) => target.includes('prefork-row'))).toEqual([]);
      const mapped = readFileSync(`/proc/${pid}/maps`, 'utf8').match(/prefork-row/g) ?? [];
      expect(mapped).toHaveLength(engine === 'native' ? 1 : 0);
    }
    expect((await on.stop()).code).toBe(0);
  });
});

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

describe.each(['native', 'js'] as const)('the row of a program, %s engine', (engine) => {
  const certificate = { TEST_KEY: fixture('worker-key.pem'), TEST_CERT: fixture('worker-cert.pem') };

  it.each(['https', 'http2', 'net'])(
    'with %s counts what it serves, and each connection once',
    async (app) => {
      const [port] = (await freePorts(1)) as [number];
      const env = { TEST_PORT: String(port), ...certificate };
      const { service } = await start([fixture(join('apps', `${app}.js`))], { engine, env });
      for (let i = 0; i < 5; i++) await ask[app]!(port);
      const after = await statusWhere(
        control,
        (status) => haveRows(status) && sum(status, (r) => r.requests) >= 5,
      );
      expect(sum(after, (row) => row.requests)).toBe(5);
      const closed = await statusWhere(control, (status) => sum(status, (row) => row.connections) === 0);
      expect(rows(closed).map(({ activity }) => activity)).toEqual(['idle', 'idle']);
      expect(sum(closed, (row) => row.bytesWritten)).toBeGreaterThan(5 * 5);
      expect((await service.stop()).code).toBe(0);
    },
  );

  it('without a server says what it is told to', async () => {
    service = Service.start(
      ['-w', '1', '--ready', 'message', '--control', control, fixture('apps/own-loop.js')],
      { engine },
    );
    const { pids } = await service.serving();
    const busy = (status: Status): boolean => status.workers[0]?.row?.activity === 'busy';
    expect((await statusWhere(control, busy)).workers[0]!.row!.requests).toBe(3);
    process.kill(pids[0]!, 'SIGUSR2');
    await statusWhere(control, (status) => status.workers[0]?.row?.activity === 'idle');
    expect((await service.stop()).code).toBe(0);
  });
});

const ask: Record<string, (port: number) => Promise<unknown>> = {
  async https(port) {
    const request = getHttps({ port, host: '127.0.0.1', rejectUnauthorized: false, agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    await text(response);
  },
  async http2(port) {
    const session: ClientHttp2Session = connectHttp2(`https://127.0.0.1:${port}`, {
      rejectUnauthorized: false,
    });
    const stream = session.request({ ':path': '/' });
    await text(stream);
    session.close();
    await once(session, 'close');
  },
  async net(port) {
    await text(connect(port, '127.0.0.1'));
  },
};

describe('an upgrade of the manager', () => {
  it.each([[[]], [['--preload']]])('keeps the rows of the workers, %s', async (more) => {
    const { service, port, pids } = await start([...more, '-b', '127.0.0.1:0', SERVER], { engine: 'native' });
    for (let i = 0; i < 10; i++) await get(port);
    await get(port, '/exit').catch(() => '');
    const { slot } = await service.event('worker-exited');
    await service.event('worker-ready', (line) => line.slot === slot);
    const before = await statusOf(control);
    for (let i = 0; i < 2; i++) {
      service.signal('SIGUSR2');
      await service.event('upgraded');
    }
    for (let i = 0; i < 10; i++) await get(port);
    const total = sum(before, (row) => row.requests) + 10;
    const after = await statusWhere(control, (status) => sum(status, (row) => row.requests) === total);
    expect(after.workers.map(({ pid }) => pid)).toEqual(before.workers.map(({ pid }) => pid));
    expect(after.workers.find((w) => w.slot === slot)!.lastExit!.how).toBe('exited with code 7');
    // One page a worker, and none of those that have gone.
    const pages = readdirSync(`/proc/${service.pid}/fd`).map((fd) => linkOf(`/proc/${service.pid}/fd/${fd}`));
    expect(pages.filter((target) => target.includes('prefork-row'))).toHaveLength(pids.length);
    expect((await service.stop()).code).toBe(0);
  });
});
