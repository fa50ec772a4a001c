/** What the manager knows: plain data, JSON in and out, so that an upgraded manager can go on from it. */
import type { Policy } from './policy';

export type WorkerPhase =
  /** spawned (or being spawned), not yet ready */
  | 'starting'
  | 'ready'
  /** told to finish, or finishing by itself */
  | 'draining'
  /** sent KILL */
  | 'killed';

export type LeaveReason =
  | 'stop'
  | 'rollout'
  | 'rollback'
  | 'scale'
  | 'retire'
  | 'ready-timeout'
  | 'hung'
  /** it began to drain by itself, or on a signal from elsewhere */
  | 'self';

export interface WorkerState {
  /** counts up, never used again */
  id: number;
  slot: number;
  generation: number;
  /** null while the spawn is under way */
  pid: number | null;
  phase: WorkerPhase;
  spawnedAtMs: number;
  readyAtMs: number | null;
  /** starting: ready timeout or start interval; draining: KILL. null: none */
  deadlineMs: number | null;
  listening: readonly string[];
  saidReady: boolean;
  /** why it should be replaced before it leaves; null: it should not */
  retiring: string | null;
  /** since when */
  retiringAtMs: number | null;
  /** when its age is up; null: never, or not ready yet */
  ageUpAtMs: number | null;
  leaving: LeaveReason | null;
  /** by SIGSTOP */
  stopped: boolean;
}

export interface SlotState {
  /** workers in a row that ended before they were ready */
  failures: number;
  /** no spawn before */
  notBeforeMs: number;
}

export interface Rollout {
  generation: number;
  /** null while the configuration is being read */
  policy: Policy | null;
  startedAtMs: number;
  /** when the present batch began, or its last worker became ready */
  batchAtMs: number;
  /** rolling: slots from 0 that belong to the new generation */
  window: number;
  /** retryRollout: no new attempt before */
  notBeforeMs: number;
}

/** Of a pool whose size follows the load. */
export interface ElasticState {
  /** no fewer slots than this: policy.minWorkers, moved by TTIN, TTOU and scale */
  floor: number;
  /** slots that the next look may add */
  growBy: number;
  /** since when more were idle than need be, at every look; null: not so */
  calmSinceMs: number | null;
  /** when the load was last looked at */
  lookedAtMs: number | null;
  /** it was said that the load asks for more slots than there may be */
  fullSaid: boolean;
}

export interface State {
  phase: 'running' | 'stopping' | 'ended';
  policy: Policy;
  /** slots to keep filled: policy.workers, changed by TTIN, TTOU, scale and the load */
  desired: number;
  elastic: ElasticState;
  /** the generation that serves */
  generation: number;
  /** the highest number given out */
  lastGeneration: number;
  /** when the serving generation was committed */
  committedAtMs: number;
  /** when a generation was last committed or given up: the automatic restart counts from here */
  attemptedAtMs: number;
  nextWorkerId: number;
  everReady: boolean;
  /** the first generation has been ready in full once */
  started: boolean;
  workers: readonly WorkerState[];
  slots: readonly SlotState[];
  rollout: Rollout | null;
  /** one more reload after the present one */
  reloadQueued: boolean;
  tokens: number;
  tokensAtMs: number;
  stop: {
    code: number;
    immediate: boolean;
    signal: NodeJS.Signals;
    intervalMs: number;
    nextAtMs: number;
  } | null;
  /** a forwarded signal that goes round one worker an interval */
  stagger: {
    signal: NodeJS.Signals;
    workerIds: readonly number[];
    intervalMs: number;
    nextAtMs: number;
  } | null;
  lastInterruptMs: number | null;
  seed: number;
  /** when step() wants a tick; null: not by itself */
  wakeAtMs: number | null;
}

/** The state of a manager that has started nothing yet. `seed` is any 32-bit number but 0. */
export function initialState(policy: Policy, nowMs: number, seed: number): State {
  return {
    phase: 'running',
    policy,
    desired: policy.workers,
    elastic: initialElastic(policy),
    generation: policy.generationPerSpawn ? 0 : 1,
    lastGeneration: policy.generationPerSpawn ? 0 : 1,
    committedAtMs: nowMs,
    attemptedAtMs: nowMs,
    nextWorkerId: 1,
    everReady: false,
    started: false,
    workers: [],
    slots: [],
    rollout: null,
    reloadQueued: false,
    tokens: policy.spawnBurst,
    tokensAtMs: nowMs,
    stop: null,
    stagger: null,
    lastInterruptMs: null,
    seed: seed >>> 0 || 1,
    wakeAtMs: nowMs,
  };
}

export function initialElastic({ minWorkers: floor }: Policy): ElasticState {
  return { floor, growBy: 1, calmSinceMs: null, lookedAtMs: null, fullSaid: false };
}

/** Counted on to serve: neither leaving nor told to. */
export const isActive = (w: WorkerState): boolean => w.phase === 'starting' || w.phase === 'ready';

export const isHung = (w: WorkerState): boolean => w.phase === 'ready' && w.retiring === 'hung';

export const isServing = (w: WorkerState): boolean => w.phase === 'ready' && w.retiring !== 'hung';
