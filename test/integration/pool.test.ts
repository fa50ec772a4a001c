/** The pool as it breathes: replaced by age and memory without a failed request, and as large as the load asks for. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { memoryBytes } from '../../src/worker/memory';
import { cli, engines, fixture, type LogLine, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

const MIB = 1024 * 1024;
/** A test waits for several starts and drains; what is bounded is each wait. */
const LONG_MS = 240_000;
const canFork = loadBinding().binding?.forkSupport().ok === true;

describe.each(engines)('a pool, %s engine', (engine) => {
  const alone = ['a process of its own', 160, [], {}] as const;
  const forked = ['forked', 80, ['--preload'], { LEAK_PRIVATE: '1', LEAK_BALLAST_MIB: '200' }] as const;
  const leaks: readonly (readonly [string, number, readonly string[], Record<string, string>])[] =
    engine === 'native' && canFork ? [alone, forked] : [alone];
  let service: Service | undefined;
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-pool-'));
  });
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
    rmSync(directory, { recursive: true });
  });

  const start = (args: readonly string[], env: Record<string, string> = {}): Service => {
    service = Service.start(args, { engine, env });
    return service;
  };
  const load = (port: number): StrictClient =>
    new StrictClient({ protocol: 'http', port, keepAlive: 4, oneShot: 2, thinkMs: 5 }).start();

  it('replaces workers by age, one after the other, without a failed request', {
    timeout: LONG_MS,
  }, async () => {
    const pool = start([
      '-w',
      '3',
      '-b',
      '127.0.0.1:0',
      '--max-age',
      '2s',
      '--spare',
      '1',
      fixture('server.js'),
    ]);
    const { port, pids } = await pool.serving();
    const client = load(port);
    for (let i = 0; i < 6; i++) await pool.event('worker-exited');
    const report = await client.stop();
    expect(report.failures).toEqual([]);
    expect((await pool.stop()).code).toBe(0);
    const first = pool.lines.filter((line) => line.event === 'worker-retiring').slice(0, 3);
    expect(first.map((line) => line.pid).toSorted()).toEqual(pids.toSorted());
    expect(first.every((line) => line.reason === 'max-age')).toBe(true);
    expect(mostWorkers(pool.lines)).toBe(3 + 1);
  });

  it.each(leaks)(
    'replaces a worker that leaks before it passes its bound, %s',
    { timeout: LONG_MS },
    async (_name, boundMib, args, env) => {
      const log = join(directory, 'used');
      const bound = ['--max-memory', `${boundMib}MiB`];
      const pool = start(['-w', '2', '-b', '127.0.0.1:0', ...bound, ...args, fixture('leaks.js')], {
        ...env,
        LEAK_LOG: log,
      });
      const { port, pids } = await pool.serving();
      // What they share is not charged to them.
      for (const pid of pids) expect(memoryBytes(pid, args.length > 0)! / MIB).toBeLessThan(boundMib);
      const client = load(port);
      for (let i = 0; i < 6; i++) await pool.event('worker-exited');
      const report = await client.stop();
      expect((await pool.stop()).code).toBe(0);
      expect(report.failures).toEqual([]);
      const lines = readFileSync(log, 'utf8').trim().split('\n');
      const used = lines.map((line) => Number(line.split(' ')[1]) / MIB);
      expect(Math.max(...used)).toBeLessThanOrEqual(boundMib + 1);
      const replaced = pool.lines.filter((line) => line.event === 'worker-retiring');
      expect(replaced.length).toBeGreaterThan(0);
      expect(replaced.every((line) => line.reason === 'max-memory')).toBe(true);
    },
  );

  it('follows the load from 3 to 10 workers and to 5', { timeout: LONG_MS }, async () => {
    const file = join(directory, 'busy');
    const size = ['--min-workers', '3', '--max-workers', '10', '--min-spare', '3', '--max-spare', '5'];
    const args = [...size, fixture('busy-on-order.js')];
    const pool = start(args, { BUSY_FILE: file });
    expect((await pool.serving()).pids).toHaveLength(3);
    writeFileSync(file, '');
    // All ten are up by then, and busy.
    expect(await pool.event('pool-full')).toMatchObject({ busy: 10, idle: 0 });
    expect(ready(pool.lines)).toBe(10);
    rmSync(file);
    await pool.event('pool-resized', (line) => line.workers === 5);
    await pool.event('worker-exited', () => ready(pool.lines) === 5);
    expect((await pool.stop()).code).toBe(0);
    const sizes = pool.lines.filter((line) => line.event === 'pool-resized').map((line) => line.workers);
    expect(sizes.slice(sizes.indexOf(10))).toEqual([10, 9, 8, 7, 6, 5]);
  });

  it('stays within its bounds, whoever asks for another size', { timeout: LONG_MS }, async () => {
    const size = ['--min-workers', '2', '--max-workers', '3'];
    const pidFile = join(directory, 'pid');
    const pool = start(['--pid-file', pidFile, ...size, fixture('busy-on-order.js')], { BUSY_FILE: pidFile });
    expect((await pool.serving()).pids).toHaveLength(2);
    await pool.event('pool-full');
    const scale = (workers: number): string =>
      execFileSync(process.execPath, [cli, 'scale', String(workers), '--pid-file', pidFile], {
        encoding: 'utf8',
      });
    expect(scale(99)).toBe('prefork: 3 workers are wanted now\n');
    expect(await pool.event('scaled')).toMatchObject({ workers: 3 });
    pool.signal('SIGTTIN');
    expect(scale(1)).toBe('prefork: 3 workers are wanted now\n');
    expect(await pool.event('scaled')).toMatchObject({ workers: 2 });
    pool.signal('SIGTTOU');
    expect((await pool.stop()).code).toBe(0);
    expect(pool.lines.filter((line) => line.event === 'scaled')).toHaveLength(2);
  });
});

/** Workers that are there and not told to leave, by the log. */
function ready(lines: readonly LogLine[]): number {
  const pids = new Set<number | undefined>();
  for (const { event, pid } of lines) {
    if (event === 'worker-ready') pids.add(pid);
    if (event === 'worker-leaving' || event === 'worker-exited') pids.delete(pid);
  }
  return pids.size;
}

/** The most that were ready at once. */
function mostWorkers(lines: readonly LogLine[]): number {
  return Math.max(...lines.map((_, at) => ready(lines.slice(0, at + 1))));
}
