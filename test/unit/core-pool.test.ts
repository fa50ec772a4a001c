/** Replacement without a dip, and the pool whose size follows the load. */
import { describe, expect, test } from 'vitest';
import { CALM_MS } from '../../src/core/elastic';
import { HUNG_WAIT_MS } from '../../src/core/policy';
import { Drive } from './core-drive';

const ids = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
const serving = (d: Drive): number => d.state.workers.filter((w) => w.phase === 'ready').length;
const hang = (d: Drive, ...workerIds: number[]): Drive => {
  for (const workerId of workerIds) d.step({ type: 'hung', workerId });
  return d;
};

describe('replacements', () => {
  test('take up no more than the spare, one after the other', () => {
    const d = new Drive({ workers: 5, spare: 2 }).up(...ids(5));
    for (const workerId of ids(5)) d.step({ type: 'retire', workerId, reason: 'max-age' });
    expect(d.state.workers.length).toBe(7);
    d.up(6);
    expect(d.phase(1)).toBe('draining');
    expect(serving(d)).toBe(5);
    // Its successor's place is free for the next.
    expect(d.spawns).toEqual([8]);
  });

  test('leave at most half of the pool on its way out', () => {
    const d = new Drive({ workers: 4, spare: 4 }).up(...ids(4));
    for (const workerId of ids(4)) d.step({ type: 'retire', workerId, reason: 'max-age' });
    d.up(5, 6, 7, 8);
    expect(ids(4).map((id) => d.phase(id))).toEqual(['draining', 'draining', 'ready', 'ready']);
    d.exited(1);
    expect(d.phase(3)).toBe('draining');
    expect(d.phase(4)).toBe('ready');
  });

  test('of one that retires in its turn come when its predecessor has gone', () => {
    const d = new Drive({ workers: 2, spare: 2 }).up(1, 2);
    for (const workerId of [1, 2]) d.step({ type: 'retire', workerId, reason: 'max-age' });
    d.up(3, 4).step({ type: 'retire', workerId: 4, reason: 'max-age' });
    expect([1, 2, 3, 4].map((id) => d.phase(id))).toEqual(['draining', 'ready', 'ready', 'ready']);
    d.exited(1);
    expect(d.phase(2)).toBe('draining');
    expect(d.spawns).toEqual([5]);
  });
});

describe('an age', () => {
  test('is up between nine tenths of it and all of it, each at a time of its own', () => {
    const d = new Drive({ workers: 20, maxAgeMs: 60_000, spare: 20 }).up(...ids(20));
    const times = d.state.workers.map((w) => w.ageUpAtMs ?? 0);
    expect(Math.min(...times)).toBeGreaterThan(54_000);
    expect(Math.max(...times)).toBeLessThanOrEqual(60_000);
    expect(new Set(times).size).toBe(20);
    d.pass(60_000);
    expect(d.state.workers.filter((w) => w.retiring === 'max-age').length).toBe(20);
  });

  test('asks for nothing any more during a stop', () => {
    const d = new Drive({ maxAgeMs: 1000, gracefulTimeoutMs: null }).up(1).signal('SIGTERM');
    expect(d.state.wakeAtMs).toBeNull();
  });
});

describe('a worker that hangs', () => {
  test('is told to leave after a while when its replacements fail', () => {
    const d = hang(new Drive({ workers: 2, backoffBaseMs: 0 }).up(1, 2), 1);
    d.step({ type: 'spawnFailed', workerId: 3, code: 'EACCES', step: 'execve', transient: false });
    d.pass(HUNG_WAIT_MS - 1);
    expect(d.phase(1)).toBe('ready');
    d.pass(1);
    expect(d.phase(1)).toBe('draining');
    expect(d.commands).toContainEqual({ type: 'signal', workerId: 1, signal: 'SIGQUIT' });
  });

  test('is told to leave also when no other is left, since it serves nothing', () => {
    const d = hang(new Drive({ readyTimeoutMs: null }).up(1), 1)
      .spawned(2)
      .pass(HUNG_WAIT_MS);
    expect(d.phase(1)).toBe('draining');
  });

  test('is replaced before those that serve', () => {
    const d = new Drive({ workers: 3, spare: 1 }).up(1, 2, 3);
    for (const workerId of [1, 2]) d.step({ type: 'retire', workerId, reason: 'max-age' });
    hang(d, 3);
    expect(d.spawns).toEqual([]);
    d.up(4);
    // 4 was for 1; now it is 3's turn, before 2's.
    expect(d.state.workers.find((w) => w.id === 5)?.slot).toBe(2);
  });

  test('may have been on its way out for another reason', () => {
    const d = new Drive({ workers: 2 }).up(1, 2).step({ type: 'retire', workerId: 1, reason: 'max-age' });
    hang(d, 1).pass(HUNG_WAIT_MS);
    expect(d.phase(1)).toBe('draining');
  });

  test('does not hold a generation up that has replaced it elsewhere', () => {
    const d = new Drive({ workers: 2, rolloutReady: 0.5 }).up(1, 2).signal('SIGHUP').loaded().up(3);
    expect(d.phase(2)).toBe('ready');
    hang(d, 2).pass(HUNG_WAIT_MS);
    expect(d.phase(2)).toBe('draining');
  });

  test('does not count for the commit of its generation', () => {
    const d = new Drive({ workers: 2 }).up(1, 2).signal('SIGHUP').loaded().up(3);
    hang(d, 3).up(4);
    expect(d.state.generation).toBe(1);
  });
});

describe('a pool that follows the load', () => {
  const elastic = { workers: 3, minWorkers: 3, maxWorkers: 10, elastic: { minSpare: 3, maxSpare: 5 } };
  /** A second goes by, and all that starts is up at once. */
  const look = (d: Drive, busy: number): Drive => {
    d.pass(1000);
    const ready = d.state.workers.filter((w) => w.phase === 'ready').length;
    const at = Math.min(busy, ready);
    d.step({ type: 'load', idle: ready - at, busy: at });
    while (d.spawns.length > 0) d.up(...d.spawns);
    for (const w of d.state.workers) if (w.phase === 'draining') d.exited(w.id);
    return d;
  };
  const looks = (d: Drive, busy: number, times: number): number[] =>
    Array.from({ length: times }, () => look(d, busy).state.desired);

  test('goes from 3 to 10 and to 5, as in Parallel::Prefork', () => {
    const d = new Drive(elastic).up(1, 2, 3);
    expect(looks(d, 99, 8).at(-1)).toBe(10);
    expect(serving(d)).toBe(10);
    expect(looks(d, 0, 20).at(-1)).toBe(5);
    expect(serving(d)).toBe(5);
  });

  test('grows twice as fast from look to look, up to 32 a second', () => {
    const wide = { ...elastic, workers: 1, minWorkers: 1, maxWorkers: 400 };
    const d = new Drive({ ...wide, spawnBurst: 1000, elastic: { minSpare: 200, maxSpare: 400 } }).up(1);
    expect(looks(d, 0, 8)).toEqual([2, 4, 8, 16, 32, 64, 96, 128]);
  });

  test('never starts more than may be idle', () => {
    const d = new Drive({ ...elastic, elastic: { minSpare: 1, maxSpare: 2 } }).up(1, 2, 3);
    expect(looks(d, 99, 4)).toEqual([4, 6, 8, 10]);
  });

  test('shrinks by one a second after five calm seconds, which a short burst begins anew', () => {
    const d = new Drive({ ...elastic, workers: 10 }).up(...ids(10));
    expect(CALM_MS).toBe(5000);
    expect(looks(d, 0, 5)).toEqual([10, 10, 10, 10, 10]);
    expect(looks(d, 5, 1)).toEqual([10]);
    expect(looks(d, 0, 8)).toEqual([10, 10, 10, 10, 10, 9, 8, 7]);
  });

  test('says once that it is at its bound', () => {
    const d = new Drive({ ...elastic, workers: 10 }).up(...ids(10));
    looks(d, 10, 5);
    const full = d.log.filter((c) => c.type === 'log' && c.entry.what === 'pool-full');
    expect(full.length).toBe(1);
  });

  test('TTIN, TTOU and scale move its floor, within the bounds', () => {
    const d = new Drive(elastic).up(1, 2, 3).step({ type: 'control', request: { do: 'scale', workers: 99 } });
    expect(d.state.desired).toBe(10);
    d.up(4, 5, 6, 7, 8, 9, 10);
    expect(looks(d, 0, 8).at(-1)).toBe(10);
    d.signal('SIGTTOU');
    expect(looks(d, 0, 8).at(-1)).toBe(9);
    d.step({ type: 'control', request: { do: 'scale', workers: 1 } });
    expect(looks(d, 0, 20).at(-1)).toBe(5);
    d.signal('SIGTTIN').signal('SIGTTIN').signal('SIGTTIN');
    expect(d.state.elastic.floor).toBe(6);
    expect(d.state.desired).toBe(6);
  });

  test('stays as it is while a generation is replaced', () => {
    const d = new Drive(elastic).up(1, 2, 3).signal('SIGHUP').loaded();
    expect(looks(d, 3, 1)).toEqual([3]);
  });

  test('passes over looks that come too soon', () => {
    const d = new Drive(elastic).up(1, 2, 3).step({ type: 'load', idle: 0, busy: 3 });
    d.pass(899).step({ type: 'load', idle: 0, busy: 4 });
    expect(d.state.desired).toBe(4);
  });

  test('takes up the bounds of a new configuration', () => {
    const d = new Drive({ ...elastic, workers: 10 }).up(...ids(10)).signal('SIGHUP');
    d.loaded({ maxWorkers: 4 }).up(11, 12, 13, 14);
    expect(d.state.desired).toBe(4);
    d.signal('SIGHUP').loaded({ elastic: null, workers: 2, minWorkers: 1 });
    d.up(15, 16);
    expect(d.state.desired).toBe(2);
  });
});

test('without a load to follow, bounds hold for TTIN, TTOU and scale', () => {
  const d = new Drive({ workers: 2, minWorkers: 2, maxWorkers: 3 }).up(1, 2).signal('SIGTTOU');
  expect(d.state.desired).toBe(2);
  d.signal('SIGTTIN').signal('SIGTTIN');
  expect(d.state.desired).toBe(3);
  d.step({ type: 'load', idle: 0, busy: 3 });
  expect(d.state.desired).toBe(3);
});
