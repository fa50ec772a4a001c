/** The pool as it breathes: replaced by age and memory without a failed request, and as large as the load asks for. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engines, fixture, type LogLine, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

const MIB = 1024 * 1024;

describe.each(engines)('a pool, %s engine', (engine) => {
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

  it('replaces workers by age, one after the other, without a failed request', async () => {
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

  it('replaces a worker that leaks before it passes its bound, without a failed request', async () => {
    const log = join(directory, 'rss');
    const bound = 160 * MIB;
    const args = ['-w', '2', '-b', '127.0.0.1:0', '--max-memory', '160MiB', fixture('leaks.js')];
    const pool = start(args, { LEAK_LOG: log });
    const { port } = await pool.serving();
    const client = load(port);
    for (let i = 0; i < 6; i++) await pool.event('worker-exited');
    const report = await client.stop();
    expect((await pool.stop()).code).toBe(0);
    expect(report.failures).toEqual([]);
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    const most = new Map<string, number>();
    for (const line of lines) {
      const [pid, bytes] = line.split(' ') as [string, string];
      most.set(pid, Math.max(most.get(pid) ?? 0, Number(bytes)));
    }
    // What it counts here is after the request that it is in.
    expect(Math.max(...most.values()) / MIB).toBeLessThanOrEqual((bound + MIB) / MIB);
    const replaced = pool.lines.filter((line) => line.event === 'worker-retiring');
    expect(replaced.every((line) => line.reason === 'max-memory')).toBe(true);
  });

  it('follows the load from 3 to 10 workers and to 5', async () => {
    const file = join(directory, 'busy');
    const size = ['--min-workers', '3', '--max-workers', '10', '--min-spare', '3', '--max-spare', '5'];
    const args = [...size, fixture('busy-on-order.js')];
    const pool = start(args, { BUSY_FILE: file });
    expect((await pool.serving()).pids).toHaveLength(3);
    writeFileSync(file, '');
    await pool.event('pool-full');
    await pool.event('worker-ready', () => ready(pool.lines) === 10);
    rmSync(file);
    await pool.event('pool-resized', (line) => line.workers === 5);
    await pool.event('worker-exited', () => ready(pool.lines) === 5);
    expect((await pool.stop()).code).toBe(0);
    const sizes = pool.lines.filter((line) => line.event === 'pool-resized').map((line) => line.workers);
    expect(sizes.slice(sizes.indexOf(10))).toEqual([10, 9, 8, 7, 6, 5]);
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
