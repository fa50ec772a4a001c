/** Policies drawn by seed: every mode and the edges of every number. */
import {
  defaultPolicy,
  defaultSignals,
  HUNG_WAIT_MS,
  ghostSignals,
  MAX_WORKERS,
  type Policy,
  type SignalTable,
  starterSignals,
} from '../../src/core/policy';
import type { Random } from './random';

/** What a healthy worker listens on. */
export const KEYS = ['tcp 8080', 'unix /run/app.sock'] as const;

/** As `trapSignals` of the library allows: staggered stops, signals passed on. */
function trappedSignals(random: Random): SignalTable {
  return {
    SIGTERM: { do: 'stop', signal: 'SIGQUIT', intervalMs: random.pick([150, 2000]) },
    SIGINT: { do: 'stopNow' },
    SIGQUIT: { do: 'stop' },
    SIGHUP: { do: 'reload' },
    SIGUSR1: { do: 'forward', signal: 'SIGUSR1' },
    SIGUSR2: { do: 'forward', signal: 'SIGTERM', intervalMs: 400 },
    SIGTTIN: { do: 'scale', by: 1 },
    SIGTTOU: { do: 'scale', by: -1 },
    SIGALRM: { do: 'ignore' },
  };
}

/** start_server: one slot, ready when still alive after the interval, a failed attempt is followed by the next. */
function starterPolicy(random: Random): Policy {
  return {
    ...defaultPolicy,
    workers: 1,
    ready: 'start',
    startIntervalMs: random.pick([0, 50, 300, 1000]),
    readyTimeoutMs: null,
    gracefulTimeoutMs: random.chance(0.7) ? null : random.int(100, 2000),
    killOldDelayMs: random.pick([0, 0, 200, 3000]),
    drainSignal: random.pick(['SIGTERM', 'SIGUSR2'] as const),
    firstFailureExits: false,
    retryRollout: true,
    generationPerSpawn: true,
    drainAgain: random.chance(0.7),
    backoffBaseMs: 0,
    secondStop: 'forward',
    autoRestartIntervalMs: random.chance(0.3) ? random.int(12_000, 30_000) : 0,
    signals: starterSignals,
    spare: random.int(0, 2),
    spawnBurst: random.int(2, 20),
    spawnPerSecond: random.int(2, 20),
  };
}

/** Most slots of a pool that follows the load: two generations of it must find pids. */
const MAX_ELASTIC = 8;

/** How many slots, within what bounds, and whether their number follows the load. */
function drawSize(random: Random): Pick<Policy, 'workers' | 'minWorkers' | 'maxWorkers' | 'elastic'> {
  const workers = random.chance(0.92) ? random.int(1, 4) : random.int(5, MAX_ELASTIC);
  const isBounded = random.chance(0.4);
  const minSpare = random.int(1, 3);
  return {
    workers,
    minWorkers: isBounded ? random.int(1, workers) : 1,
    maxWorkers: isBounded ? random.int(workers, MAX_ELASTIC) : MAX_WORKERS,
    elastic: isBounded && random.chance(0.8) ? { minSpare, maxSpare: minSpare + random.int(1, 3) } : null,
  };
}

export function drawPolicy(random: Random): Policy {
  if (random.chance(0.15)) return starterPolicy(random);
  const backoffBaseMs = random.pick([0, 20, 500]);
  return {
    ...drawSize(random),
    ready: random.pick(['listen', 'listen', 'message', 'start'] as const),
    startIntervalMs: random.pick([0, 100, 1000]),
    readyTimeoutMs: random.chance(0.1) ? null : random.int(200, 5000),
    gracefulTimeoutMs: random.chance(0.1) ? null : random.int(100, 5000),
    killOldDelayMs: random.chance(0.7) ? 0 : random.int(50, 3000),
    drainSignal: random.pick(['SIGTERM', 'SIGTERM', 'SIGQUIT'] as const),
    stopSignal: random.pick(['SIGTERM', 'SIGQUIT'] as const),
    rollout: random.pick(['surge', 'rolling'] as const),
    rolloutBatch: random.int(1, 3),
    rolloutReady: random.chance(0.6) ? 1 : random.int(1, 10) / 10,
    spare: random.int(0, 3),
    firstFailureExits: random.chance(0.4),
    retryRollout: random.chance(0.1),
    generationPerSpawn: false,
    drainAgain: random.chance(0.1),
    backoffBaseMs,
    backoffMaxMs: backoffBaseMs * random.pick([1, 4, 40]),
    spawnBurst: random.pick([1, 3, 10, 128]),
    spawnPerSecond: random.pick([1, 8, 50]),
    maxRequests: random.pick([0, 0, 100]),
    maxRequestsJitter: random.pick([0, 20]),
    maxAgeMs: random.chance(0.15) ? random.int(12_000, 60_000) : 0,
    requiredKeys: KEYS.slice(0, random.int(0, KEYS.length)),
    secondStop: random.chance(0.8) ? 'kill' : 'forward',
    autoRestartIntervalMs: random.chance(0.1) ? random.int(12_000, 30_000) : 0,
    signals: random.pick([defaultSignals, defaultSignals, ghostSignals, trappedSignals(random)]),
  };
}

/** What a new configuration asks for: the same, or some of it changed. */
export function changePolicy(policy: Policy, random: Random): Policy {
  if (policy.generationPerSpawn || random.chance(0.5)) return policy;
  const other = drawPolicy(random);
  if (other.generationPerSpawn) return policy;
  return {
    ...policy,
    ...changeSize(policy, other, random),
    maxAgeMs: other.maxAgeMs,
    ready: random.chance(0.2) ? other.ready : policy.ready,
    rollout: other.rollout,
    rolloutBatch: other.rolloutBatch,
    rolloutReady: other.rolloutReady,
    readyTimeoutMs: other.readyTimeoutMs,
    gracefulTimeoutMs: other.gracefulTimeoutMs,
    spare: other.spare,
    retryRollout: other.retryRollout,
    requiredKeys: random.chance(0.2) ? other.requiredKeys : policy.requiredKeys,
    signals: random.chance(0.2) ? other.signals : policy.signals,
    autoRestartIntervalMs: other.autoRestartIntervalMs,
  };
}

function changeSize(policy: Policy, other: Policy, random: Random): Partial<Policy> {
  const { workers, minWorkers, maxWorkers, elastic } = other;
  if (random.chance(0.3)) return { workers, minWorkers, maxWorkers, elastic };
  if (random.chance(0.8)) return {};
  return random.pick<Partial<Policy>>([
    { elastic: null },
    { minWorkers: policy.workers },
    { maxWorkers: Math.min(policy.workers, policy.maxWorkers) },
  ]);
}

/** Virtual time in which what is under way must have come to its end once nothing goes wrong any more. */
export function convergenceBoundMs(policy: Policy, workers: number): number {
  const once =
    (policy.readyTimeoutMs ?? 0) +
    (policy.gracefulTimeoutMs ?? 0) +
    policy.killOldDelayMs +
    policy.startIntervalMs +
    policy.backoffMaxMs +
    policy.backoffBaseMs +
    (4 * workers * 1000) / policy.spawnPerSecond +
    HUNG_WAIT_MS +
    // down to the floor, one a second
    (policy.elastic === null ? 0 : 8000 + workers * 1100) +
    // a slow start, a drain and late notices
    8000;
  // One rollout that fails, one that was queued behind it, and the replacement of what died meanwhile.
  return 4 * once;
}
