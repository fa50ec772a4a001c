import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Releases } from '../helpers/release';
import { cli, fixture, root, type Service } from '../helpers/service';
import { useServices } from '../helpers/services';
import { StrictClient } from '../helpers/strict-client';

/** Each step starts a manager or two, and a trial of one. */
vi.setConfig({ testTimeout: 120_000 });

const SERVER = fixture('server.js');

const place = useServices('native');

async function upgrade(service: Service): Promise<void> {
  service.signal('SIGUSR2');
  await service.event('upgraded', ({ pid }) => pid === service.pid);
}

async function get(port: number, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
  expect(response.status).toBe(200);
  return response.text();
}

/** What a process has open: kinds, not numbers. */
function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\[\d+\]/, ''))
    .sort();
}

/** Kills one worker and returns the pid of the one in its place. */
async function replaceWorker(service: Service, pid: number): Promise<number> {
  process.kill(pid, 'SIGKILL');
  const { slot } = await service.event('worker-exited', (line) => line.pid === pid);
  return (await service.event('worker-ready', (line) => line.slot === slot)).pid!;
}

describe('an upgrade', () => {
  it('keeps pid, workers, sockets, files and every request, twenty times in a row', {
    timeout: 120_000,
  }, async () => {
    const pidFile = join(place.directory, 'pid');
    const statusFile = join(place.directory, 'status');
    const service = place.start([
      '-w',
      '2',
      '-b',
      '127.0.0.1:0',
      '--pid-file',
      pidFile,
      '--status-file',
      statusFile,
      SERVER,
    ]);
    const { port, pids } = await service.serving();
    const status = readFileSync(statusFile, 'utf8');
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 3, oneShot: 1, thinkMs: 2 }).start();
    await client.answered(20);
    await upgrade(service);
    const open = descriptors(service.pid);
    for (let i = 1; i < 20; i++) {
      await upgrade(service);
      await client.answered(20);
    }
    const report = await client.stop();
    expect(report.failures).toEqual([]);
    expect(descriptors(service.pid)).toEqual(open);
    expect(readFileSync(pidFile, 'utf8')).toBe(`${service.pid}\n`);
    expect(spawnSync('flock', ['--nonblock', pidFile, 'true']).status).toBe(1);
    expect(readFileSync(statusFile, 'utf8')).toBe(status);
    expect(service.processes().sort()).toEqual([service.pid, ...pids].sort());
    expect(service.lines.some(({ event }) => event === 'worker-exited')).toBe(false);
    expect((await service.stop()).code).toBe(0);
    expect([existsSync(pidFile), existsSync(statusFile)]).toEqual([false, false]);
  });

  it('goes on counting, respawning and reloading, and is seen by no worker', async () => {
    // The addon is as good as anything that an operator has preloaded.
    const preload = join(root, 'build', 'Release', 'prefork.node');
    const service = place.start(['-w', '2', SERVER], { env: { LD_PRELOAD: preload } });
    const { port, pids } = await service.serving();
    service.signal('SIGHUP');
    const { generation } = await service.event('rollout-committed');
    expect(generation).toBe(2);
    for (let left = pids.length; left > 0; left--) await service.event('worker-exited');
    await upgrade(service);
    const second = service.lines.find((line) => line.event === 'worker-ready' && line.generation === 2);
    const pid = await replaceWorker(service, second!.pid!);
    // The same port, that no option names, and the same generation; worker ids are never used twice.
    const env = environmentOf(pid);
    expect(env).toMatchObject({ PREFORK_GENERATION: '2', PREFORK_WORKER_ID: '5', LD_PRELOAD: preload });
    expect(Object.keys(env).filter((name) => /UPGRADE|GUARD/.test(name))).toEqual([]);
    expect(await get(port, '/')).toBe('ok\n');
    service.signal('SIGHUP');
    expect((await service.event('rollout-committed')).generation).toBe(3);
    expect((await service.stop()).code).toBe(0);
  });

  it('keeps Unix sockets and one socket a slot', async () => {
    const path = join(place.directory, 'app.sock');
    const unix = place.start(['-w', '1', '-b', `unix:${path}`, SERVER], { env: { TEST_LISTEN: path } });
    await unix.serving();
    const slots = place.start(['-w', '2', '-b', '127.0.0.1:0', '--reuse-port', SERVER]);
    const { port, pids } = await slots.serving();
    await upgrade(unix);
    await upgrade(slots);
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 0, oneShot: 4 }).start();
    const other = new StrictClient({ protocol: 'http', socketPath: path, keepAlive: 0, oneShot: 1 }).start();
    await Promise.all([client.answered(100), other.answered(20)]);
    expect((await client.stop()).failures).toEqual([]);
    expect((await other.stop()).failures).toEqual([]);
    await replaceWorker(slots, pids[0]!);
    expect((await slots.stop()).code).toBe(0);
    expect((await unix.stop()).code).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it('keeps the forkserver, which goes on forking', async () => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', '--preload', SERVER]);
    const { port, pids } = await service.serving();
    const forkservers = (): unknown[] =>
      service.lines.filter(({ event }) => event === 'forkserver-preloaded').map(({ pid }) => pid);
    await upgrade(service);
    const pid = await replaceWorker(service, pids[0]!);
    expect(await get(port, '/')).toBe('ok\n');
    expect(forkservers()).toHaveLength(1);
    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toContain(`PPid:\t${service.pid}\n`);
    service.signal('SIGHUP');
    await service.event('rollout-committed');
    await upgrade(service);
    expect(forkservers()).toHaveLength(2);
    expect((await service.stop()).code).toBe(0);
    expect(service.processes()).toEqual([]);
  });

  it('keeps the floor of an elastic pool, its size and its workers, and goes on with the load', async () => {
    const busy = join(place.directory, 'busy');
    await writeFile(busy, '');
    const args = ['--min-workers', '1', '--max-workers', '4', fixture('busy-on-order.js')];
    const service = place.start(args, { env: { BUSY_FILE: busy } });
    await service.serving();
    await service.event('pool-full');
    service.signal('SIGTTIN');
    expect(await service.event('scaled')).toMatchObject({ workers: 2 });
    await upgrade(service);
    service.signal('SIGTTIN');
    expect(await service.event('scaled')).toMatchObject({ workers: 3 });
    rmSync(busy);
    expect(await service.event('pool-resized')).toMatchObject({ workers: 3, idle: 4, busy: 0 });
    const { expected } = await service.event('worker-exited');
    expect(expected).toBe(true);
    expect(service.lines.filter(({ event }) => event === 'worker-exited')).toHaveLength(1);
    expect((await service.stop()).code).toBe(0);
  });

  it('keeps the control socket, and whoever asks meanwhile is answered', async () => {
    const control = join(place.directory, 'control');
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', '--control', control, SERVER]);
    await service.serving();
    service.signal('SIGUSR2');
    await service.event('upgrade-exec');
    const ask = (command: string) =>
      promisify(execFile)(process.execPath, [cli, command, '--control', control]);
    expect((await ask('status')).stdout).toContain(String(service.pid));
    await service.event('upgraded');
    await ask('reload');
    expect((await service.event('rollout-committed')).generation).toBe(2);
    await upgrade(service);
    await ask('stop');
    expect((await service.exited).code).toBe(0);
    expect(existsSync(control)).toBe(false);
  });

  it('waits for a rollout, whichever of the two was asked for first', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER]);
    await service.serving();
    service.signal('SIGUSR2');
    await service.event('upgrade-started');
    service.signal('SIGHUP');
    await service.event('rollout-committed');
    await service.event('upgraded');
    service.signal('SIGHUP');
    await service.event('rollout-started');
    service.signal('SIGUSR2');
    await service.event('upgrade-waits');
    await service.event('rollout-committed');
    await service.event('upgraded');
    expect((await service.stop()).code).toBe(0);
  });

  it('is given up for a stop', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER]);
    await service.serving();
    service.signal('SIGUSR2');
    await service.event('upgrade-started');
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    expect(service.lines.some(({ event }) => event === 'upgrade-failed')).toBe(false);
  });

  it('is refused by the engine that cannot do it', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER], { engine: 'js' });
    await service.serving();
    service.signal('SIGUSR2');
    await service.event('upgrade-failed');
    expect((await service.stop()).code).toBe(0);
  });
});

describe('in the midst of an upgrade, after the exec', () => {
  let gate: string;

  beforeEach(() => {
    gate = join(place.directory, 'gate');
    execFileSync('mkfifo', [`${gate}.reached`, `${gate}.open`]);
  });

  /** A manager that stands still in its take-over until the gate is opened. */
  async function startAtGate(): Promise<{ service: Service; port: number; pids: number[] }> {
    const options = `--require=${fixture('upgrade-gate.cjs')}`;
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', SERVER], {
      env: { TEST_GATE: gate, NODE_OPTIONS: options },
    });
    const { port, pids } = await service.serving();
    service.signal('SIGUSR2');
    await readFile(`${gate}.reached`);
    return { service, port, pids };
  }

  it('workers serve, and one that dies is reaped and replaced', async () => {
    const { service, port, pids } = await startAtGate();
    expect(pids).toContain(Number(await get(port, '/pid')));
    process.kill(pids[0]!, 'SIGKILL');
    await writeFile(`${gate}.open`, 'x');
    const exit = await service.event('worker-exited');
    expect(exit).toMatchObject({ pid: pids[0], status: 9, expected: false });
    await service.event('worker-ready', ({ slot }) => slot === exit.slot);
    expect((await service.stop()).code).toBe(0);
  });

  it('a worker that was stopped and continued, and messages of workers, are not lost', async () => {
    const { service, pids } = await startAtGate();
    process.kill(pids[0]!, 'SIGSTOP');
    await writeFile(`${gate}.open`, 'x');
    await service.event('worker-stopped', ({ pid }) => pid === pids[0]);
    process.kill(pids[0]!, 'SIGCONT');
    await service.event('worker-continued', ({ pid }) => pid === pids[0]);
    expect((await service.stop()).code).toBe(0);
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)('%s waits, and stops', async (signal) => {
    const { service } = await startAtGate();
    service.signal(signal);
    await writeFile(`${gate}.open`, 'x');
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  it('HUP, USR1, USR2, TTIN wait, and each does what it does', async () => {
    const { service } = await startAtGate();
    for (const signal of ['SIGUSR1', 'SIGTTIN', 'SIGHUP'] as const) service.signal(signal);
    await writeFile(`${gate}.open`, 'x');
    await service.event('upgraded');
    await service.event('rollout-committed');
    expect(service.lines.find(({ event }) => event === 'scaled')).toMatchObject({ workers: 3 });
    expect(service.errors).not.toContain('Debugger');
    expect((await service.stop()).code).toBe(0);
  });

  it('a second USR2 leads to a second upgrade', async () => {
    const { service } = await startAtGate();
    service.signal('SIGUSR2');
    await writeFile(`${gate}.open`, 'x');
    await service.event('upgraded');
    await readFile(`${gate}.reached`);
    await writeFile(`${gate}.open`, 'x');
    await service.event('upgraded');
    expect((await service.stop()).code).toBe(0);
  });
});

describe('signals at any time around the exec', () => {
  // Every millisecond: UPGRADE_STEP_MS=1.
  const stepMs = Number(process.env.UPGRADE_STEP_MS ?? 50);
  const times = Array.from({ length: Math.floor(150 / stepMs) + 1 }, (_, i) => i * stepMs);
  const timeout = 60_000 + times.length * 10_000;

  /** From when time is counted: the trial of the new version begins; signals are held back, and the exec is next. */
  const anchors = ['upgrade-started', 'upgrade-exec'] as const;

  async function beginUpgrade(service: Service, anchor: (typeof anchors)[number], ms: number): Promise<void> {
    service.signal('SIGUSR2');
    await service.event(anchor);
    await pause(ms);
  }

  /** Waits until there have been so many since the start. */
  async function upgrades(service: Service, count: number): Promise<void> {
    const done = (): number => service.lines.filter(({ event }) => event === 'upgraded').length;
    while (done() < count) await service.event('upgraded');
    expect(done()).toBe(count);
  }

  it.each(anchors)('HUP is neither fatal nor lost, counted from %s', { timeout }, async (anchor) => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER]);
    await service.serving();
    for (const [index, ms] of times.entries()) {
      await beginUpgrade(service, anchor, ms);
      service.signal('SIGHUP');
      const { generation } = await service.event('rollout-committed');
      await service.event('worker-exited');
      await upgrades(service, index + 1);
      expect(generation).toBe(index + 2);
    }
    expect((await service.stop()).code).toBe(0);
    expect(service.lines.some(({ event }) => event === 'upgrade-failed')).toBe(false);
  });

  it('USR2 leads to one more upgrade', { timeout }, async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER]);
    const { pids } = await service.serving();
    for (const [index, ms] of times.entries()) {
      await beginUpgrade(service, 'upgrade-exec', ms);
      service.signal('SIGUSR2');
      await upgrades(service, 2 * (index + 1));
    }
    expect(service.processes().sort()).toEqual([service.pid, ...pids].sort());
    expect((await service.stop()).code).toBe(0);
  });

  it.each(anchors)('TERM stops as ever, counted from %s', { timeout }, async (anchor) => {
    for (const ms of times) {
      const service = place.start(['-w', '1', '-b', '127.0.0.1:0', SERVER]);
      await service.serving();
      await beginUpgrade(service, anchor, ms);
      expect(await service.stop(), `after ${ms} ms`).toEqual({ code: 0, signal: null });
    }
  });
});

describe('a new version', () => {
  let releases: Releases;
  let service: Service;
  let port: number;
  let pids: number[];

  beforeEach(async () => {
    releases = new Releases(place.directory);
    releases.deploy('one');
    service = place.start(['-w', '2', '-b', '127.0.0.1:0', SERVER], { cli: releases.cli });
    ({ port, pids } = await service.serving());
  });

  /** It still serves with the same workers, and reloads. */
  async function expectUnharmed(): Promise<void> {
    expect(service.processes().sort()).toEqual([service.pid, ...pids].sort());
    expect(pids).toContain(Number(await get(port, '/pid')));
    service.signal('SIGHUP');
    await service.event('rollout-committed');
  }

  it('is found through the link, and does not need the old one', async () => {
    releases.deploy('two', { 'package.json': ['"version": "0.1.0"', '"version": "0.2.0"'] });
    releases.remove('one');
    service.signal('SIGUSR2');
    expect(await service.event('upgraded')).toMatchObject({ from: '0.1.0', to: '0.2.0' });
    const pid = await replaceWorker(service, pids[0]!);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain(
      join(place.directory, 'two', 'dist', 'worker'),
    );
    await upgrade(service);
    expect((await service.stop()).code).toBe(0);
  });

  it.each([
    ['has a syntax error', { 'dist/cli/prefork.js': ['"use strict";', 'const = 1;'] }, 'SyntaxError'],
    [
      'throws',
      { 'dist/manager/run.js': ['"use strict";', 'throw new Error("broken at import");'] },
      'broken at import',
    ],
    [
      'knows another schema',
      { 'dist/manager/handover.js': ['HANDOVER_SCHEMA = 1', 'HANDOVER_SCHEMA = 2'] },
      'schema 1',
    ],
    ['says nothing', { 'dist/cli/prefork.js': ['"use strict";', 'process.exit(0);'] }, 'it said nothing'],
  ] as const)('that %s leaves the running manager as it was', async (_, edits, reason) => {
    releases.deploy('two', edits);
    const open = descriptors(service.pid);
    service.signal('SIGUSR2');
    const failed = await service.event('upgrade-failed');
    expect(failed.reason).toContain(reason);
    expect(descriptors(service.pid)).toEqual(open);
    await expectUnharmed();
    releases.deploy('three');
    await upgrade(service);
    expect((await service.stop()).code).toBe(0);
  });

  it('that fails in its take-over gives back to the old one', async () => {
    // Only after the exec: the trial does not resume.
    const broken = 'function resumeManager() { throw new Error("it does not work"); } function unused(';
    releases.deploy('two', { 'dist/manager/run.js': ['function resumeManager(', broken] });
    service.signal('SIGUSR2');
    expect((await service.event('upgrade-failed')).reason).toContain('it does not work');
    await expectUnharmed();
    // The next one looks where the link points again.
    releases.deploy('three', { 'package.json': ['"version": "0.1.0"', '"version": "0.3.0"'] });
    service.signal('SIGUSR2');
    expect(await service.event('upgraded')).toMatchObject({ from: '0.1.0', to: '0.3.0' });
    expect((await service.stop()).code).toBe(0);
  });

  it('that was removed is missed, and nothing else', async () => {
    releases.deploy('two');
    releases.switchTo('one');
    releases.remove('two');
    rmSync(join(place.directory, 'current'));
    service.signal('SIGUSR2');
    expect((await service.event('upgrade-failed')).reason).toContain('Cannot find module');
    await expectUnharmed();
    expect((await service.stop()).code).toBe(0);
  });
});

/** What a process was started with. */
function environmentOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}
