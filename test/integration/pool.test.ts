/**
 * The pool as it breathes: replaced by age and memory without a failed request, and as large as the load asks for. What takes time
 * is to wait for ages and looks at the load, so that several services do it side by side.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { memoryBytes } from '../../src/worker/memory';
import { cli, engines, fixture, type LogLine, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

const run = promisify(execFile);
const MIB = 1024 * 1024;
/** A test waits for several starts and drains; what is bounded is each wait. */
const LONG_MS = 240_000;
const canFork = loadBinding().binding?.forkSupport().ok === true;

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-pool-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe.concurrent.each(engines)('a pool, %s engine', (engine) => {
  const alone = ['a process of its own', 130, [], {}] as const;
  const forked = ['forked', 80, ['--preload'], { LEAK_PRIVATE: '1', LEAK_BALLAST_MIB: '100' }] as const;
  const leaks: readonly (readonly [string, number, readonly string[], Record<string, string>])[] =
    engine === 'native' && canFork ? [alone, forked] : [alone];

  const start = (
    context: TestContext,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Service => {
    const service = Service.start(args, { engine, env });
    context.onTestFinished(() => service.dispose());
    return service;
  };
  /** A file of that test alone. */
  const file = (context: TestContext): string => join(directory, context.task.id);
  const load = (port: number): StrictClient =>
    new StrictClient({ protocol: 'http', port, keepAlive: 4, oneShot: 2, thinkMs: 5 }).start();

  it('replaces workers by age, one after the other, without a failed request', {
    timeout: LONG_MS,
  }, async (context) => {
    const ages = ['--max-age', '1s', '--spare', '1'];
    const pool = start(context, ['-w', '3', '-b', '127.0.0.1:0', ...ages, fixture('server.js')]);
    const { port, pids } = await pool.serving();
    const client = load(port);
    for (let i = 0; i < 3; i++) await pool.event('worker-exited');
    const report = await client.stop();
    expect(report.failures).toEqual([]);
    expect((await pool.stop()).code).toBe(0);
    const first = pool.lines.filter((line) => line.event === 'worker-retiring').slice(0, 3);
    expect(first.map((line) => line.pid).toSorted()).toEqual(pids.toSorted());
    expect(first.every((line) => line.reason === 'max-age')).toBe(true);
    expect(mostWorkers(pool.lines)).toBe(3 + 1);
  });

  it.for(leaks)(
    'replaces a worker that leaks before it passes its bound, %s',
    {
      timeout: LONG_MS,
    },
    async ([, boundMib, args, env], context) => {
      const log = file(context);
      const bound = ['--max-memory', `${boundMib}MiB`];
      const options = ['-w', '2', '-b', '127.0.0.1:0', ...bound, ...args, fixture('leaks.js')];
      const pool = start(context, options, { ...env, LEAK_LOG: log });
      const { port, pids } = await pool.serving();
      // What they share is not charged to them.
      for (const pid of pids) expect(memoryBytes(pid, args.length > 0)! / MIB).toBeLessThan(boundMib);
      const client = load(port);
      for (let i = 0; i < 3; i++) await pool.event('worker-exited');
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

  it('follows the load from 3 to 10 workers and to 5', { timeout: LONG_MS }, async (context) => {
    const busy = file(context);
    const size = ['--min-workers', '3', '--max-workers', '10', '--min-spare', '3', '--max-spare', '5'];
    const pool = start(context, [...size, fixture('busy-on-order.js')], { BUSY_FILE: busy });
    expect((await pool.serving()).pids).toHaveLength(3);
    writeFileSync(busy, '');
    // At least eight are busy by then, or three would be idle soon.
    expect(await pool.event('pool-full')).toMatchObject({ workers: 10 });
    if (ready(pool.lines) < 10) await pool.event('worker-ready', () => ready(pool.lines) === 10);
    rmSync(busy);
    await pool.event('pool-resized', (line) => line.workers === 5);
    await pool.event('worker-exited', () => ready(pool.lines) === 5);
    expect((await pool.stop()).code).toBe(0);
    const sizes = pool.lines.filter((line) => line.event === 'pool-resized').map((line) => line.workers);
    expect(sizes.slice(sizes.indexOf(10))).toEqual([10, 9, 8, 7, 6, 5]);
  });

  it('stays within its bounds, whoever asks for another size', { timeout: LONG_MS }, async (context) => {
    const size = ['--min-workers', '2', '--max-workers', '3'];
    const pidFile = file(context);
    const args = ['--pid-file', pidFile, ...size, fixture('busy-on-order.js')];
    const pool = start(context, args, { BUSY_FILE: pidFile });
    expect((await pool.serving()).pids).toHaveLength(2);
    await pool.event('pool-full');
    const scale = async (workers: number): Promise<string> => {
      const line = [cli, 'scale', String(workers), '--pid-file', pidFile];
      return (await run(process.execPath, line)).stdout;
    };
    expect(await scale(99)).toBe('prefork: 3 workers are wanted now\n');
    expect(await pool.event('scaled')).toMatchObject({ workers: 3 });
    pool.signal('SIGTTIN');
    expect(await scale(1)).toBe('prefork: 3 workers are wanted now\n');
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
