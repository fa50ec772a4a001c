/**
 * Workers that give no sign of life: noticed in time, looked into, replaced; and the others left alone. What takes time is to wait
 * for the timeout, so that several services do it side by side.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { get as getHttp, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { engines, fixture, type LogLine, Service, type StartOptions } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

const INTERVAL_MS = 250;
const TIMEOUT_MS = 2000;
/** A look may be late on a machine that is busy with other things. */
const LATE_MS = 1000;

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
});
afterAll(() => rmSync(directory, { recursive: true }));

async function start(context: TestContext, args: readonly string[], options: StartOptions) {
  const heartbeats = ['--heartbeat-interval', `${INTERVAL_MS}ms`, '--heartbeat-timeout', `${TIMEOUT_MS}ms`];
  const more = ['-w', '2', '-b', '127.0.0.1:0', '--graceful-timeout', '500ms', ...heartbeats, ...args];
  const service = Service.start([...more, fixture('stuck.js')], {
    ...options,
    env: { TEST_FIFO: join(directory, 'fifo'), ...options.env },
  });
  context.onTestFinished(() => service.dispose());
  return { service, ...(await service.serving()) };
}

/** The pid of the worker that took the request. */
async function ask(port: number, path = '/'): Promise<number> {
  const request = getHttp({ port, host: '127.0.0.1', path, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return Number(await text(response));
}

interface Hung extends LogLine {
  stuck: { kind: string; call?: string; stack?: string[] | null; reason?: string | null };
  silentMs: number;
}

/** That it is noticed in time, told to leave, killed and replaced. */
async function replaced(service: Service, pid: number): Promise<Hung> {
  const hung = (await service.event('worker-hung', (line) => line.pid === pid)) as Hung;
  expect(hung.silentMs).toBeGreaterThan(TIMEOUT_MS);
  expect(hung.silentMs).toBeLessThanOrEqual(TIMEOUT_MS + INTERVAL_MS + LATE_MS);
  await service.event('worker-ready', (line) => line.slot === hung.slot);
  const leaving = await service.event('worker-leaving', (line) => line.pid === pid);
  expect(leaving).toMatchObject({ reason: 'hung', signal: 'SIGQUIT' });
  const exited = await service.event('worker-exited', (line) => line.pid === pid);
  expect(exited).toMatchObject({ status: 9, expected: true });
  return hung;
}

describe.concurrent.each([
  ['native', []],
  ['native', ['--preload']],
  ['js', []],
] as const)('a worker that hangs, %s engine %s', (engine, more) => {
  it('in an endless loop is replaced, with its stack in the log, and the other serves on', async (context) => {
    const { service, port, pids } = await start(context, more, { engine });
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 0, oneShot: 1, thinkMs: 20 });
    const pid = await ask(port, '/loop');
    client.start();
    const { stuck, msg } = await replaced(service, pid);
    expect(stuck.kind).toBe('runs');
    expect(stuck.stack?.[0]).toMatch(/^endlessLoop \(.*stuck\.js:6:\d+\)$/);
    expect(msg).toContain('\n    at endlessLoop (');
    await client.answered(20);
    expect((await client.stop()).failures).toEqual([]);
    const other = pids.find((one) => one !== pid)!;
    expect(service.lines.filter((line) => line.event === 'worker-exited' && line.pid === other)).toEqual([]);
    expect((await service.stop()).code).toBe(0);
  });

  it('in a synchronous read is replaced, with its system call in the log', async (context) => {
    const { service, port } = await start(context, more, { engine });
    const { stuck } = await replaced(service, await ask(port, '/read'));
    expect(stuck.kind).toBe('waits');
    expect(stuck.call).toMatch(/^read\(2\) of descriptor \d+ \(\/.*\/fifo\)$/);
    expect((await service.stop()).code).toBe(0);
  });

  it('because it is stopped is replaced, and said to be so', async (context) => {
    const { service, pids } = await start(context, more, { engine });
    process.kill(pids[0]!, 'SIGSTOP');
    const { stuck, msg } = await replaced(service, pids[0]!);
    expect(stuck).toEqual({ kind: 'stopped' });
    expect(msg).toContain('it is stopped (SIGSTOP)');
    expect((await service.stop()).code).toBe(0);
  });
});

describe.concurrent.each(engines)('the monitor, %s engine', (engine) => {
  it('asks for no stack where that is not wanted, or the program has the signal itself', async (context) => {
    const { service, port } = await start(context, ['--no-stuck-stack'], { engine });
    const off = await replaced(service, await ask(port, '/loop'));
    expect(off.stuck).toMatchObject({ kind: 'runs', stack: null });
    expect((await service.stop()).code).toBe(0);
    const { service: own, port: at } = await start(context, [], { engine });
    const { stuck } = await replaced(own, await ask(at, '/usr1'));
    expect(stuck).toMatchObject({ kind: 'runs', stack: null, reason: 'SIGUSR1 is not for us to send' });
    expect(own.errors).not.toContain('Debugger listening');
    expect((await own.stop()).code).toBe(0);
  });

  it('finds the loop of one that makes system calls without end', async (context) => {
    const { service, port } = await start(context, [], { engine });
    const { stuck } = await replaced(service, await ask(port, '/reads'));
    expect(JSON.stringify(stuck)).toContain('busyReads');
    expect((await service.stop()).code).toBe(0);
  });

  it('blames nobody when everything has stood still', async (context) => {
    const { service, port, pids } = await start(context, [], { engine });
    await ask(port);
    // As on a machine that is suspended: the time is what is tested.
    for (const pid of [service.pid, ...pids]) process.kill(pid, 'SIGSTOP');
    await pause(TIMEOUT_MS + 1000);
    process.kill(service.pid, 'SIGCONT');
    await service.event('manager-stalled');
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    expect(pids).toContain(await ask(port));
    expect(service.lines.filter(({ event }) => event === 'worker-hung')).toEqual([]);
    expect((await service.stop()).code).toBe(0);
  });

  it('leaves alone what never gave a sign of life, and everybody where there is no timeout', async (context) => {
    const { service, port } = await start(context, ['--heartbeat-timeout', '0'], { engine });
    const pid = await ask(port, '/loop');
    await pause(TIMEOUT_MS + 2 * INTERVAL_MS);
    expect(service.lines.filter(({ event }) => event === 'worker-hung')).toEqual([]);
    process.kill(pid, 'SIGKILL');
    await service.event('worker-exited', (line) => line.pid === pid);
    expect((await service.stop()).code).toBe(0);
  });
});
