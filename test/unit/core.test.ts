/** The core by its contracts: what the manager does on which event, with the numbers that users see. */
import { describe, expect, test } from 'vitest';
import type { Policy } from '../../src/core/policy';
import { ghostSignals } from '../../src/core/policy';
import { Drive } from './core-drive';

/** Two workers that serve. */
const two = (policy: Partial<Policy> = {}) => new Drive({ workers: 2, ...policy }).up(1, 2);

const exitCode = (d: Drive) => d.told('exit').map((c) => c.type === 'exit' && c.code);
const signals = (d: Drive) =>
  d.commands.flatMap((c) => (c.type === 'signal' ? [`${c.workerId} ${c.signal}`] : []));

describe('the first start', () => {
  test('fills every slot and says so once', () => {
    const d = new Drive({ workers: 3 });
    expect(d.spawns).toEqual([1, 2, 3]);
    d.up(1, 2);
    expect(d.told('started')).toEqual([]);
    d.up(3).exited(3, 256).up(4);
    expect(d.told('started').length).toBe(1);
  });

  test.each([
    ['exits before it is ready', (d: Drive) => d.spawned(1, 2).exited(1, 256), 3],
    ['passes the ready timeout', (d: Drive) => d.spawned(1, 2).pass(60_000), 3],
    [
      'cannot be executed',
      (d: Drive) =>
        d
          .spawned(2)
          .step({ type: 'spawnFailed', workerId: 1, code: 'ENOENT', step: 'execve', transient: false }),
      3,
    ],
    [
      'asks for a listener that cannot be opened',
      (d: Drive) =>
        d.spawned(1, 2).step({ type: 'listenFailed', workerId: 1, address: '127.0.0.1:80', code: 'EACCES' }),
      4,
    ],
  ])('ends when a worker %s', (_, fail, code) => {
    const d = new Drive({ workers: 2, firstFailureExits: true });
    fail(d);
    expect(d.state.phase).toBe('stopping');
    for (const { id } of d.state.workers) {
      if (d.worker(id)?.pid === null) d.spawned(id);
      d.exited(id, 9);
    }
    expect(exitCode(d)).toEqual([code]);
  });

  test('survives a failure of fork that passes', () => {
    const d = new Drive({ firstFailureExits: true, backoffBaseMs: 100 });
    d.step({ type: 'spawnFailed', workerId: 1, code: 'EAGAIN', step: 'clone', transient: true }).pass(100);
    expect(d.told('spawn').length).toBe(2);
    expect(d.state.phase).toBe('running');
  });
});

describe('a worker that ends', () => {
  test('is replaced at once when it had served', () => {
    const d = two().exited(1, 139);
    expect(d.spawns).toEqual([3]);
    expect(d.worker(3)).toMatchObject({ slot: 0, generation: 1 });
  });

  test('is replaced after a backoff that doubles to its limit when it had not', () => {
    const d = two({ backoffBaseMs: 100, backoffMaxMs: 400 }).exited(1, 256);
    for (const fullMs of [100, 200, 400, 400]) {
      const id = d.state.nextWorkerId - 1;
      d.spawned(id).exited(id, 256);
      expect(d.spawns).toEqual([]);
      d.pass(fullMs / 2 - 1);
      expect(d.state.nextWorkerId).toBe(id + 1);
      d.pass(fullMs / 2 + 1);
      expect(d.state.nextWorkerId).toBe(id + 2);
    }
    const id = d.state.nextWorkerId - 1;
    d.up(id).exited(id);
    expect(d.spawns).toEqual([id + 1]);
  });

  test('is told to finish by itself: nobody tells it again, and KILL comes in the end', () => {
    const d = two({ gracefulTimeoutMs: 1000 }).step({ type: 'draining', workerId: 1 });
    expect(signals(d)).toEqual([]);
    expect(d.spawns).toEqual([3]);
    d.pass(1000);
    expect(d.phase(1)).toBe('killed');
  });

  test('never makes more spawns than their rate allows', () => {
    const d = new Drive({ spawnBurst: 3, spawnPerSecond: 2, backoffBaseMs: 0, startIntervalMs: 0 });
    for (let i = 0; i < 50; i++) {
      const id = d.state.nextWorkerId - 1;
      if (d.worker(id) !== undefined) d.up(id).exited(id);
      d.pass(100);
    }
    expect(d.told('spawn').length).toBe(3 + 2 * 5);
  });
});

describe('a stop', () => {
  test('drains, kills at the graceful timeout, and exits with 0 after the last', () => {
    const d = two({ gracefulTimeoutMs: 1000 }).signal('SIGTERM');
    expect(signals(d)).toEqual(['1 SIGTERM', '2 SIGTERM']);
    d.exited(1).pass(999);
    expect(d.phase(2)).toBe('draining');
    d.pass(1);
    expect(d.phase(2)).toBe('killed');
    d.exited(2, 9);
    expect(exitCode(d)).toEqual([0]);
    expect(d.state).toMatchObject({ phase: 'ended', wakeAtMs: null });
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('is immediate after one more %s', (signal, code) => {
    const d = two().signal('SIGTERM').signal(signal);
    expect(signals(d)).toEqual(['1 SIGKILL', '2 SIGKILL']);
    d.exited(1, 9).exited(2, 9);
    expect(exitCode(d)).toEqual([code]);
  });

  test('counts INTs within a second once', () => {
    const d = two().signal('SIGINT').pass(999).signal('SIGINT');
    expect(d.phase(1)).toBe('draining');
    d.pass(1).signal('SIGINT');
    expect(d.phase(1)).toBe('killed');
  });

  test('is not made immediate by QUIT', () => {
    expect(two().signal('SIGQUIT').signal('SIGQUIT').phase(1)).toBe('draining');
  });

  test('is what HUP means when the terminal has gone', () => {
    const d = two().step({ type: 'signal', signal: 'SIGHUP', terminalGone: true });
    expect(d.state.phase).toBe('stopping');
  });

  test('reaches a worker whose spawn is under way', () => {
    const d = new Drive().signal('SIGTERM');
    expect(signals(d)).toEqual([]);
    d.spawned(1);
    expect(signals(d)).toEqual(['1 SIGTERM']);
  });

  test('goes round one worker an interval where the table says so', () => {
    const d = two({ signals: { SIGTERM: { do: 'stop', signal: 'SIGUSR2', intervalMs: 500 } } }).signal(
      'SIGTERM',
    );
    expect(signals(d)).toEqual(['1 SIGUSR2']);
    d.pass(499);
    expect(d.phase(2)).toBe('ready');
    d.pass(1);
    expect(d.phase(2)).toBe('draining');
  });

  test('passes the signal on once more where it may not kill', () => {
    const d = two({ secondStop: 'forward' }).signal('SIGTERM').signal('SIGTERM');
    expect(signals(d)).toEqual(['1 SIGTERM', '2 SIGTERM']);
    d.exited(1).exited(2);
    expect(exitCode(d)).toEqual([0]);
  });

  test('is at once for TERM in the table of Ghost', () => {
    expect(two({ signals: ghostSignals }).signal('SIGTERM').phase(1)).toBe('killed');
  });

  test('ends a rollout', () => {
    const d = two().signal('SIGHUP').loaded().signal('SIGTERM');
    expect(d.commands).toContainEqual({
      type: 'rolloutEnded',
      generation: 2,
      ok: false,
      reason: 'the manager is stopping',
    });
    expect(d.state.workers.map((w) => w.phase)).toEqual(['draining', 'draining', 'draining', 'draining']);
  });
});

describe('a surge', () => {
  test('commits when all are ready, and only then lets the old ones go', () => {
    const d = two().signal('SIGHUP');
    expect(d.commands).toEqual([{ type: 'reloadConfig', generation: 2 }]);
    d.loaded().up(3);
    expect([d.phase(1), d.phase(2)]).toEqual(['ready', 'ready']);
    d.up(4);
    expect(d.state.generation).toBe(2);
    expect(signals(d)).toEqual(['1 SIGTERM', '2 SIGTERM']);
  });

  test('commits at the share that is asked for; a slot keeps its old worker until the new one is ready', () => {
    const d = two().signal('SIGHUP').loaded({ rolloutReady: 0.5 }).up(3);
    expect(d.state.generation).toBe(2);
    expect([d.phase(1), d.phase(2)]).toEqual(['draining', 'ready']);
    d.up(4);
    expect(d.phase(2)).toBe('draining');
  });

  test.each([
    [
      'ends before it is ready',
      (d: Drive) => d.exited(3, 256),
      'worker 103 exited with code 1 before it was ready',
    ],
    [
      'is ready and ends',
      (d: Drive) => d.up(3).exited(3, 9),
      'worker 103 was killed by signal 9 before the generation was',
    ],
    [
      'is never ready',
      (d: Drive) => d.pass(60_000),
      'worker 103 passed the ready timeout of 60000 ms: it did not become ready',
    ],
    [
      'listens on less than the old one',
      (d: Drive) => d.step({ type: 'listening', workerId: 3, key: 'tcp 81' }).pass(60_000),
      'worker 103 passed the ready timeout of 60000 ms: it does not listen on tcp 80, but on tcp 81',
    ],
  ])('fails when a worker %s, and nobody who serves is touched', (_, fail, reason) => {
    const d = two().signal('SIGHUP').loaded();
    if (reason.includes('did not become ready')) d.step({ type: 'unlistening', workerId: 1, key: 'tcp 80' });
    d.spawned(3, 4);
    fail(d);
    expect(d.commands).toContainEqual({ type: 'rolloutEnded', generation: 2, ok: false, reason });
    expect([d.phase(1), d.phase(2)]).toEqual(['ready', 'ready']);
    expect(d.state.workers.filter((w) => w.generation === 2 && w.phase !== 'draining')).toEqual([]);
  });

  test('fails with its configuration', () => {
    const d = two().signal('SIGHUP').step({ type: 'configFailed', generation: 2, reason: 'a syntax error' });
    expect(d.commands).toContainEqual({
      type: 'rolloutEnded',
      generation: 2,
      ok: false,
      reason: 'a syntax error',
    });
    expect(d.told('spawn').length).toBe(2);
  });

  test('takes any number of reloads meanwhile as one more', () => {
    const d = two().signal('SIGHUP').loaded().signal('SIGHUP').signal('SIGHUP').up(3, 4);
    expect(d.state).toMatchObject({ generation: 2, rollout: { generation: 3 }, reloadQueued: false });
    d.loaded().up(5, 6);
    expect(d.state).toMatchObject({ generation: 3, rollout: null });
  });

  test('brings another number of workers', () => {
    const d = two().signal('SIGHUP').loaded({ workers: 3 }).up(3, 4, 5);
    expect(d.state).toMatchObject({ desired: 3, generation: 2 });
  });

  test('takes no answer for another generation', () => {
    const d = two().signal('SIGHUP');
    d.step({ type: 'configLoaded', generation: 7, policy: d.state.policy });
    expect(d.state.rollout?.policy).toBeNull();
    d.step({ type: 'configFailed', generation: 7, reason: 'late' });
    expect(d.state.rollout?.generation).toBe(2);
  });
});

describe('a rolling rollout', () => {
  test('replaces a batch at a time, never with fewer ready than asked for', () => {
    const d = two().signal('SIGHUP').loaded({ rollout: 'rolling', rolloutBatch: 1 });
    expect(d.spawns).toEqual([3]);
    d.up(3);
    expect(d.phase(1)).toBe('draining');
    expect(d.phase(2)).toBe('ready');
    expect(d.spawns).toEqual([4]);
    d.up(4);
    expect(d.state.generation).toBe(2);
    expect(d.phase(2)).toBe('draining');
  });

  test('goes back slot by slot when a later batch fails', () => {
    const d = two()
      .signal('SIGHUP')
      .loaded({ rollout: 'rolling', rolloutBatch: 1 })
      .up(3)
      .spawned(4)
      .exited(4, 256);
    expect(d.phase(3)).toBe('ready');
    expect(d.spawns).toEqual([5]);
    d.up(5);
    expect(d.worker(5)).toMatchObject({ slot: 0, generation: 1 });
    expect(d.phase(3)).toBe('draining');
  });
});

describe('requests', () => {
  test('TTIN and TTOU change the number of slots, within bounds', () => {
    const d = two().signal('SIGTTIN').up(3);
    expect(d.state.desired).toBe(3);
    d.signal('SIGTTOU').signal('SIGTTOU').signal('SIGTTOU');
    expect(d.state.desired).toBe(1);
    expect([d.phase(1), d.phase(2), d.phase(3)]).toEqual(['ready', 'draining', 'draining']);
    d.step({ type: 'control', request: { do: 'scale', workers: 5000 } });
    expect(d.state.desired).toBe(1024);
  });

  test('USR1 and USR2 are passed on to the shell, an upgrade not during a stop', () => {
    const d = two().signal('SIGUSR1');
    expect(d.commands).toEqual([{ type: 'reopenLogs' }]);
    expect(d.signal('SIGUSR2').commands).toEqual([{ type: 'reexec' }]);
    expect(d.signal('SIGTERM').signal('SIGUSR2').commands).toEqual([]);
  });

  test('a signal is forwarded to every worker, or to one an interval', () => {
    const d = two({
      signals: {
        SIGUSR1: { do: 'forward', signal: 'SIGWINCH' },
        SIGUSR2: { do: 'forward', signal: 'SIGTERM', intervalMs: 300 },
      },
    }).signal('SIGUSR1');
    expect(signals(d)).toEqual(['1 SIGWINCH', '2 SIGWINCH']);
    d.signal('SIGUSR2');
    expect(signals(d)).toEqual(['1 SIGTERM']);
    d.pass(300);
    expect(signals(d)).toEqual(['2 SIGTERM']);
  });

  test('a hung worker is replaced first, then told by QUIT, then killed', () => {
    const d = two({ gracefulTimeoutMs: 1000 }).step({ type: 'hung', workerId: 2 });
    expect(d.spawns).toEqual([3]);
    expect(signals(d)).toEqual([]);
    d.up(3);
    expect(signals(d)).toEqual(['2 SIGQUIT']);
    d.pass(1000);
    expect(d.phase(2)).toBe('killed');
  });

  test('maxRequests gets its jitter from the seed in the state', () => {
    const d = new Drive({ workers: 40, maxRequests: 100, maxRequestsJitter: 10 });
    const limits = d.told('spawn').map((c) => (c.type === 'spawn' ? c.maxRequests : 0));
    expect(Math.min(...limits)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...limits)).toBeLessThanOrEqual(110);
    expect(new Set(limits).size).toBeGreaterThan(3);
  });
});
