/** The state of a manager that finds workers of one that was killed: they serve until its own have taken their places. */
import type { Policy } from './policy';
import { initialState, type State } from './state';

/** A worker that serves without a manager, as it says itself. */
export interface KeptWorker {
  readonly workerId: number;
  readonly pid: number;
  readonly slot: number;
  readonly generation: number;
  /** keys of the listeners that it accepts on */
  readonly listening: readonly string[];
}

/**
 * As {@link initialState}, with those workers as the ready ones of former generations. A service that they keep up has
 * been ready before: what fails now is tried again, and is no reason to end. Their ids are different ones.
 */
export function stateWithKept(
  policy: Policy,
  nowMs: number,
  seed: number,
  kept: readonly KeptWorker[],
): State {
  const generation = 1 + Math.max(0, ...kept.map((w) => w.generation));
  const workers = kept
    .toSorted((a, b) => a.workerId - b.workerId)
    .map(({ workerId, pid, slot, generation, listening }) => ({
      id: workerId,
      slot,
      generation,
      pid,
      phase: 'ready' as const,
      spawnedAtMs: nowMs,
      readyAtMs: nowMs,
      deadlineMs: null,
      listening,
      saidReady: true,
      retiring: null,
      retiringAtMs: null,
      ageUpAtMs: null,
      leaving: null,
      stopped: false,
    }));
  return {
    ...initialState(policy, nowMs, seed),
    generation,
    lastGeneration: generation,
    nextWorkerId: 1 + Math.max(0, ...kept.map((w) => w.workerId)),
    everReady: kept.length > 0,
    workers,
  };
}
