/** What the simulator found, each as the shortest list of events that shows it. */
import { describe, expect, test } from 'vitest';
import { starterSignals } from '../../src/core/policy';
import { Drive } from './core-drive';

const starter = {
  ready: 'start',
  startIntervalMs: 100,
  readyTimeoutMs: null,
  backoffBaseMs: 0,
  retryRollout: true,
  generationPerSpawn: true,
  signals: starterSignals,
} as const;

describe('the end of a generation is told once', () => {
  const ended = (d: Drive) => d.told('generationEnded').map((c) => 'generation' in c && c.generation);

  test('when its last worker ends and fails the rollout', () => {
    const d = new Drive().up(1).signal('SIGHUP').loaded().spawned(2).exited(2, 256);
    expect(ended(d)).toEqual([2]);
  });

  test('when its last worker could not be spawned', () => {
    const d = new Drive({ workers: 2 }).up(1, 2).signal('SIGHUP').loaded().spawned(3).exited(3, 256);
    expect(ended(d)).toEqual([]);
    d.step({ type: 'spawnFailed', workerId: 4, code: 'EAGAIN', step: 'clone', transient: true });
    expect(ended(d)).toEqual([2]);
  });

  test('where every spawn is a generation of its own', () => {
    const d = new Drive(starter).spawned(1).pass(100).exited(1, 256);
    expect(d.state.generation).toBe(2);
    expect(ended(d)).toEqual([1]);
  });
});

describe('the automatic restart', () => {
  const policy = { ...starter, autoRestartIntervalMs: 10_000, gracefulTimeoutMs: null };

  test('waits its interval after an attempt that failed', () => {
    const d = new Drive({ autoRestartIntervalMs: 10_000 }).up(1).pass(10_000);
    expect(d.state.rollout?.generation).toBe(2);
    d.step({ type: 'configFailed', generation: 2, reason: 'a syntax error' });
    expect(d.state.rollout).toBeNull();
    expect(d.state.wakeAtMs).toBe(20_000);
  });

  test('has its timer from the step that commits', () => {
    const d = new Drive(policy).spawned(1).pass(100).signal('SIGHUP').loaded().spawned(2).pass(100);
    expect(d.state.generation).toBe(2);
    expect(d.state.rollout).toBeNull();
    expect(d.state.wakeAtMs).not.toBeNull();
  });
});

describe('a worker that asks to leave', () => {
  test('is replaced without any spare when it serves alone', () => {
    const d = new Drive({ spare: 0 }).up(1).step({ type: 'retire', workerId: 1, reason: 'max-requests' });
    expect(d.spawns).toEqual([2]);
    expect(d.phase(1)).toBe('ready');
    d.up(2);
    expect(d.phase(1)).toBe('draining');
  });

  test('leaves first where there is no spare and another serves', () => {
    const d = new Drive({ spare: 0, workers: 2 }).up(1, 2);
    d.step({ type: 'retire', workerId: 1, reason: 'max-requests' });
    expect(d.phase(1)).toBe('draining');
    expect(d.phase(2)).toBe('ready');
    // Its slot is filled in the same step, not at the next event.
    expect(d.spawns).toEqual([3]);
  });

  test('leaves once it is replaced, also before its generation is committed', () => {
    const d = new Drive({ workers: 2 }).up(1, 2).signal('SIGHUP').loaded().up(3);
    d.step({ type: 'retire', workerId: 3, reason: 'max-requests' });
    expect(d.spawns).toEqual([5]);
    d.up(5);
    expect(d.phase(3)).toBe('draining');
    d.step({ type: 'retire', workerId: 5, reason: 'max-requests' });
    expect(d.state.workers.filter((w) => w.slot === 0 && w.generation === 2).length).toBe(3);
  });

  test('is not kept by killOldDelayMs', () => {
    const d = new Drive({ ...starter, killOldDelayMs: 5000 }).spawned(1).pass(100);
    d.step({ type: 'retire', workerId: 1, reason: 'age' }).spawned(2).pass(100);
    expect(d.phase(1)).toBe('draining');
  });

  test('does not count as the replacement of an old one', () => {
    const d = new Drive({ workers: 2, rolloutReady: 1 }).up(1, 2).signal('SIGHUP').loaded({ spare: 0 }).up(3);
    d.step({ type: 'retire', workerId: 3, reason: 'max-requests' }).up(4);
    expect(d.state.generation).toBe(2);
    expect([d.phase(1), d.phase(3)].filter((phase) => phase === 'ready').length).toBe(1);
  });
});

describe('rolling', () => {
  test('a smaller number of slots takes effect within a batch', () => {
    const d = new Drive({ workers: 3, rollout: 'rolling', rolloutBatch: 3 })
      .up(1, 2, 3)
      .signal('SIGHUP')
      .loaded();
    expect(d.spawns).toEqual([4, 5, 6]);
    d.signal('SIGTTOU');
    expect(d.phase(6)).toBe('draining');
    expect(d.spawns).toEqual([]);
    d.spawned(4, 5, 6);
    expect(d.state.nextWorkerId).toBe(7);
  });
});

describe('where every spawn is a generation of its own', () => {
  test('the generation that serves never goes back', () => {
    const d = new Drive(starter).spawned(1).pass(100).signal('SIGHUP').loaded().spawned(2).exited(1, 9);
    expect(d.state.generation).toBe(1);
    d.pass(100);
    expect(d.state.generation).toBe(2);
    expect(d.state.workers.map((w) => w.id)).toEqual([2]);
  });

  test('there is one slot, whoever asks for more', () => {
    const d = new Drive(starter)
      .spawned(1)
      .pass(100)
      .step({ type: 'control', request: { do: 'scale', workers: 3 } });
    expect(d.state.desired).toBe(1);
    expect(d.spawns).toEqual([]);
  });

  test('the start interval counts from the process, however late it came', () => {
    const d = new Drive(starter).pass(5000);
    expect(d.phase(1)).toBe('starting');
    d.spawned(1).pass(99);
    expect(d.phase(1)).toBe('starting');
    d.pass(1);
    expect(d.phase(1)).toBe('ready');
  });

  test('reloads wait while old workers are kept', () => {
    const d = new Drive({ ...starter, killOldDelayMs: 5000 }).spawned(1).pass(100).signal('SIGHUP').loaded();
    d.spawned(2).pass(100);
    expect(d.state.generation).toBe(2);
    d.signal('SIGHUP').signal('SIGHUP');
    expect(d.state.rollout).toBeNull();
    d.pass(5000);
    expect(d.phase(1)).toBe('draining');
    expect(d.told('reloadConfig').length).toBe(2);
  });

  test('a reload that waits ends the attempts with the configuration of before', () => {
    const d = new Drive(starter).spawned(1).pass(100).signal('SIGHUP').loaded().spawned(2).signal('SIGHUP');
    d.exited(2, 256);
    expect(d.told('reloadConfig').length).toBe(2);
    expect(d.state.rollout).toMatchObject({ generation: 3, policy: null });
  });
});

describe('readiness', () => {
  test('is asked again when the generation is committed', () => {
    const d = new Drive({ workers: 2, readyTimeoutMs: null }).up(1, 2);
    d.step({ type: 'listening', workerId: 2, key: 'tcp 81' }).signal('SIGHUP').loaded({ rolloutReady: 0.5 });
    d.spawned(3, 4).step({ type: 'listening', workerId: 4, key: 'tcp 80' });
    expect(d.phase(4)).toBe('starting');
    d.step({ type: 'listening', workerId: 3, key: 'tcp 80' });
    expect(d.state.generation).toBe(2);
    expect(d.phase(4)).toBe('ready');
  });

  test('is asked again when a worker that serves closes a listener', () => {
    const d = new Drive()
      .up(1)
      .step({ type: 'listening', workerId: 1, key: 'tcp 81' })
      .signal('SIGHUP')
      .loaded();
    d.up(2);
    expect(d.phase(2)).toBe('starting');
    d.step({ type: 'unlistening', workerId: 1, key: 'tcp 81' });
    expect(d.phase(2)).toBe('ready');
  });

  test('waits for the news of the spawn', () => {
    const d = new Drive().step({ type: 'listening', workerId: 1, key: 'tcp 80' });
    expect(d.phase(1)).toBe('starting');
    d.spawned(1);
    expect(d.phase(1)).toBe('ready');
  });

  test('is not what a ready timeout means when the rollout has failed in the same step', () => {
    const d = new Drive({ ...starter, generationPerSpawn: false, retryRollout: false, workers: 2 });
    d.spawned(1, 2).pass(100).signal('SIGHUP').loaded({ ready: 'listen', readyTimeoutMs: 500 }).pass(500);
    expect(d.state.rollout).toBeNull();
    expect([d.phase(3), d.phase(4)]).toEqual(['draining', 'draining']);
  });

  test('its timeout asks for nothing any more during a stop in turns', () => {
    const d = new Drive({
      workers: 3,
      readyTimeoutMs: 100,
      signals: { SIGTERM: { do: 'stop', intervalMs: 5000 } },
    }).spawned(1, 2, 3);
    d.signal('SIGTERM').pass(1000);
    expect(d.phase(1)).toBe('draining');
    expect(d.phase(2)).toBe('starting');
  });
});

test('a start interval asks for nothing any more during a stop in turns', () => {
  const d = new Drive({ ...starter, generationPerSpawn: false, workers: 3, startIntervalMs: 100 }).spawned(
    1,
    2,
    3,
  );
  d.pass(100)
    .signal('SIGHUP')
    .loaded({ signals: { SIGHUP: { do: 'reload' }, SIGTERM: { do: 'stop', intervalMs: 5000 } } });
  d.spawned(4, 5, 6).pass(100);
  expect(d.state.generation).toBe(2);
  d.signal('SIGHUP').loaded().signal('SIGTERM').spawned(7, 8, 9).pass(1000);
  expect(d.state.workers.map((w) => w.phase)).toContain('starting');
});

describe('a failed generation', () => {
  test('leaves at most one worker in a slot that nobody else serves', () => {
    const d = new Drive({ workers: 2, retryRollout: true, startIntervalMs: 0, spawnBurst: 20 }).up(1, 2);
    d.signal('SIGHUP').loaded().up(3).spawned(4);
    // The slot's own worker ends, and its replacement waits out the backoff.
    d.exited(1, 9).step({ type: 'spawnFailed', workerId: 5, code: 'EAGAIN', step: 'clone', transient: true });
    d.exited(4, 256);
    expect(d.phase(3)).toBe('ready');
    const inSlot = () => d.state.workers.filter((w) => w.slot === 0 && w.phase === 'ready').length;
    for (let attempt = 0; attempt < 3; attempt++) {
      d.pass(600);
      const { generation } = d.state.rollout ?? { generation: 0 };
      const [first, second] = d.state.workers.filter((w) => w.generation === generation);
      if (first !== undefined) d.up(first.id);
      if (second !== undefined) d.spawned(second.id).exited(second.id, 256);
      expect(inSlot()).toBeLessThanOrEqual(2);
    }
  });

  test('is tried again also after its spawns failed for passing reasons', () => {
    const d = new Drive({ retryRollout: true, startIntervalMs: 1000 }).up(1).signal('SIGHUP');
    d.loaded({ readyTimeoutMs: 10, retryRollout: false });
    d.step({ type: 'spawnFailed', workerId: 2, code: 'ENOENT', step: 'execve', transient: false }).pass(1000);
    expect(d.spawns).toEqual([3]);
  });

  test('is tried again after the start interval, batch by batch too', () => {
    const d = new Drive({ retryRollout: true, startIntervalMs: 1000 }).up(1).signal('SIGHUP');
    d.loaded({ rollout: 'rolling' }).spawned(2).pass(300).exited(2, 256);
    expect(d.spawns).toEqual([]);
    d.pass(700);
    expect(d.spawns).toEqual([3]);
  });

  test('does not hold the next one up by its backoff', () => {
    const d = new Drive({ backoffBaseMs: 10_000, backoffMaxMs: 10_000, readyTimeoutMs: 1000 })
      .spawned(1)
      .exited(1, 256);
    expect(d.spawns).toEqual([]);
    d.signal('SIGHUP').loaded();
    expect(d.told('spawn').length).toBe(3);
    d.up(2);
    expect(d.state.generation).toBe(2);
  });
});

test('a large pool that fills at the rate of spawns is not given up', () => {
  const d = new Drive({ workers: 4, readyTimeoutMs: 1500, spawnBurst: 4, spawnPerSecond: 1 }).up(1, 2, 3, 4);
  d.pass(1000).signal('SIGHUP').loaded();
  for (let id = 5; id <= 8; id++) {
    expect(d.worker(id)).toBeDefined();
    d.up(id).pass(1000);
  }
  expect(d.state.generation).toBe(2);
});

test('exit is the last thing that is said', () => {
  const d = new Drive().up(1).signal('SIGTERM').exited(1);
  expect(d.commands.at(-1)).toEqual({ type: 'exit', code: 0 });
  expect(d.commands.some(({ type }) => type === 'publishStatus')).toBe(true);
});
