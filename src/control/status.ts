/** What the manager tells of itself. */
import type { State, WorkerState } from '../core/state';
import { nowMs } from '../engine/clock';
import type { Status, WorkerStatus } from './protocol';

export interface StatusFacts {
  readonly version: string;
  readonly engine: 'native' | 'js';
  readonly startedAtMs: number;
  readonly addresses: readonly string[];
}

export function statusOf(state: State, facts: StatusFacts): Status {
  const now = nowMs();
  const workers = state.workers.map((w) => workerStatus(w, now));
  return {
    pid: process.pid,
    version: facts.version,
    engine: facts.engine,
    state: overall(state),
    generation: state.generation,
    nextGeneration: state.rollout?.generation ?? null,
    workersWanted: state.desired,
    workersReady: workers.filter((w) => w.state === 'ready').length,
    upMs: Math.round(now - facts.startedAtMs),
    addresses: facts.addresses,
    workers: workers.sort((a, b) => a.slot - b.slot || a.workerId - b.workerId),
  };
}

function overall({ phase, started, rollout }: State): Status['state'] {
  if (phase !== 'running') return 'stopping';
  if (!started) return 'starting';
  return rollout === null ? 'running' : 'reloading';
}

function workerStatus(w: WorkerState, now: number): WorkerStatus {
  return {
    slot: w.slot,
    workerId: w.id,
    pid: w.pid,
    generation: w.generation,
    state: w.phase,
    ageMs: Math.round(now - w.spawnedAtMs),
    readyMs: w.readyAtMs === null ? null : Math.round(now - w.readyAtMs),
    leaving: w.leaving,
    stopped: w.stopped,
  };
}
