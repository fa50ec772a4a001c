/** What the core is told to keep up: numbers and tables only, so that a state can be written down and read again. */
import type { Signal } from '../engine/engine';

/** How a signal to the manager is answered. */
export type SignalAction =
  /** stop: workers get `signal` (default: the policy's), one now and one an interval where `intervalMs` > 0 */
  | { do: 'stop'; signal?: Signal; intervalMs?: number }
  /** stop as by INT: repeated within a second it counts once */
  | { do: 'interrupt' }
  /** stop without waiting: KILL */
  | { do: 'stopNow' }
  | { do: 'reload' }
  /** HUP: as reload, but a stop where the controlling terminal has gone (the shell says so in the event) */
  | { do: 'hangup' }
  | { do: 'scale'; by: 1 | -1 }
  | { do: 'reopenLogs' }
  | { do: 'upgrade' }
  /** send `signal` to every worker, one now and one an interval where `intervalMs` > 0; they are respawned as they end */
  | { do: 'forward'; signal: Signal; intervalMs?: number }
  | { do: 'ignore' };

export type SignalTable = Readonly<Partial<Record<Signal, SignalAction>>>;

export interface Policy {
  /** slots to keep filled at the start, minWorkers to maxWorkers */
  workers: number;
  /** bounds of the number of slots, whoever changes it; 1 to MAX_WORKERS */
  minWorkers: number;
  maxWorkers: number;
  /** how many workers are to be idle, 0 < minSpare < maxSpare; null: the number of slots does not follow the load */
  elastic: { minSpare: number; maxSpare: number } | null;
  ready: 'listen' | 'start' | 'message';
  /** with ready = 'start': alive this long after the spawn is ready */
  startIntervalMs: number;
  /** null: waits for ever */
  readyTimeoutMs: number | null;
  /** from the drain signal to KILL; null: never KILL */
  gracefulTimeoutMs: number | null;
  /** from the commit of a generation to the drain of the old one */
  killOldDelayMs: number;
  /** told to a worker that leaves while the service goes on */
  drainSignal: Signal;
  /** told to every worker at a stop */
  stopSignal: Signal;
  rollout: 'surge' | 'rolling';
  /** rolling: slots at a time */
  rolloutBatch: number;
  /** surge: share of the slots (0 < share ≤ 1) that must be ready to commit */
  rolloutReady: number;
  /** workers beyond the slots that replacements may take up for a while */
  spare: number;
  /** a first worker that ends before any was ready ends the manager with exit code 3 */
  firstFailureExits: boolean;
  /** a generation that fails is tried again, as a new generation */
  retryRollout: boolean;
  /** every spawn counts as a generation of its own; for one slot, which is not scaled */
  generationPerSpawn: boolean;
  /** those that are leaving already are told again: when one more generation is replaced, and at a stop */
  drainAgain: boolean;
  /** delay after n failures before ready: base × 2^(n-1), at most max, less up to half by jitter; base 0: none */
  backoffBaseMs: number;
  backoffMaxMs: number;
  /** spawns at once, and refilled a second */
  spawnBurst: number;
  spawnPerSecond: number;
  /** 0: without bound; each worker gets maxRequests + a random part of the jitter */
  maxRequests: number;
  maxRequestsJitter: number;
  /** 0: without bound; from readiness on, and each worker's less a random part of up to MAX_AGE_JITTER */
  maxAgeMs: number;
  /** listeners that a worker must be on to be ready (--bind) */
  requiredKeys: readonly string[];
  /** what a second TERM (or INT) during a stop does: KILL to all workers, or the stop's signal once more */
  secondStop: 'kill' | 'forward';
  /** 0: none. A reload by itself at this age if no old workers remain, forced at twice that */
  autoRestartIntervalMs: number;
  signals: SignalTable;
}

/** Upper edge of `maxWorkers`: more is a typing error rather than a wish. */
export const MAX_WORKERS = 1024;

/** Share of maxAgeMs by which a worker may leave early, so that those that began together do not end together. */
export const MAX_AGE_JITTER = 0.1;

/** A worker that hangs is told to leave after so long also where its replacement is not ready. */
export const HUNG_WAIT_MS = 10_000;

/** INTs that arrive within this time count once: a terminal and npm both send one. */
export const INTERRUPT_WINDOW_MS = 1000;

export const defaultSignals: SignalTable = {
  SIGTERM: { do: 'stop' },
  SIGQUIT: { do: 'stop', signal: 'SIGQUIT' },
  SIGINT: { do: 'interrupt' },
  SIGHUP: { do: 'hangup' },
  SIGUSR1: { do: 'reopenLogs' },
  SIGUSR2: { do: 'upgrade' },
  SIGTTIN: { do: 'scale', by: 1 },
  SIGTTOU: { do: 'scale', by: -1 },
};

/** Acme::Ghost and Mojo: INT and TERM at once, QUIT gracefully. */
export const ghostSignals: SignalTable = {
  ...defaultSignals,
  SIGTERM: { do: 'stopNow' },
  SIGINT: { do: 'stopNow' },
  SIGQUIT: { do: 'stop', signal: 'SIGQUIT' },
  SIGHUP: { do: 'reload' },
};

/** Server::Starter: HUP a new generation, TERM and INT a stop; no scaling, no upgrade. */
export const starterSignals: SignalTable = {
  SIGTERM: { do: 'stop' },
  SIGINT: { do: 'stop', signal: 'SIGTERM' },
  SIGHUP: { do: 'reload' },
  SIGALRM: { do: 'ignore' },
};

export const signalPresets = {
  prefork: defaultSignals,
  ghost: ghostSignals,
  starter: starterSignals,
} as const;

export const defaultPolicy: Policy = {
  workers: 1,
  minWorkers: 1,
  maxWorkers: MAX_WORKERS,
  elastic: null,
  ready: 'listen',
  startIntervalMs: 1000,
  readyTimeoutMs: 60_000,
  gracefulTimeoutMs: 30_000,
  killOldDelayMs: 0,
  drainSignal: 'SIGTERM',
  stopSignal: 'SIGTERM',
  rollout: 'surge',
  rolloutBatch: 1,
  rolloutReady: 1,
  spare: 2,
  firstFailureExits: true,
  retryRollout: false,
  generationPerSpawn: false,
  drainAgain: false,
  backoffBaseMs: 500,
  backoffMaxMs: 30_000,
  spawnBurst: 128,
  spawnPerSecond: 8,
  maxRequests: 0,
  maxRequestsJitter: 0,
  maxAgeMs: 0,
  requiredKeys: [],
  secondStop: 'kill',
  autoRestartIntervalMs: 0,
  signals: defaultSignals,
};
