/** What the manager tells of itself. */
import type { State, WorkerState } from '../core/state';
import { nowMs } from '../engine/clock';
import type { Scoreboard } from '../scoreboard/row';
import type { ExitStatus, RowStatus, Status, WorkerStatus } from './protocol';

export interface StatusFacts {
  readonly version: string;
  readonly engine: 'native' | 'js';
  readonly startedAtMs: number;
  readonly addresses: readonly string[];
  readonly scoreboard: Scoreboard;
  lastExit(slot: number, nowMs: number): ExitStatus | null;
}

export function statusOf(state: State, facts: StatusFacts): Status {
  const now = nowMs();
  const workers = state.workers.map((w) => workerStatus(w, facts, now));
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

function workerStatus(w: WorkerState, facts: StatusFacts, now: number): WorkerStatus {
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
    row: rowStatus(facts.scoreboard, w.id, now),
    memory: null,
    lastExit: facts.lastExit(w.slot, now),
  };
}

function rowStatus(scoreboard: Scoreboard, workerId: number, now: number): RowStatus | null {
  const row = scoreboard.read(workerId);
  if (row === null) return null;
  const { state, heartbeatMs, requests, connections, bytesRead, bytesWritten } = row;
  const { utilisation, lagMs, rssBytes, heapBytes } = row;
  return {
    activity: state,
    requests,
    connections,
    bytesRead,
    bytesWritten,
    utilisation,
    lagMs: Math.round(lagMs),
    heartbeatMs: heartbeatMs === 0 ? null : Math.max(0, Math.round(now - heartbeatMs)),
    rssBytes,
    heapBytes,
  };
}
