/** When a worker counts as ready. */
import type { Draft } from './draft';
import { MAX_AGE_JITTER } from './policy';
import type { WorkerState } from './state';

/** Listeners that this worker still has to be on: those of --bind, and those that its slot serves now. */
export function missingListeners(d: Draft, w: WorkerState): string[] {
  const wanted = new Set(d.policyOf(w.generation).requiredKeys);
  if (d.isCandidate(w)) {
    for (const other of d.workers) {
      if (other.slot !== w.slot || other.generation !== d.s.generation || other.phase !== 'ready') continue;
      for (const key of other.listening) wanted.add(key);
    }
  }
  return [...wanted].filter((key) => !w.listening.includes(key));
}

/** For people: of what {@link missingListeners} gives, and where the worker listens instead. */
export function notListening(missing: readonly string[], listening: readonly string[]): string {
  const elsewhere = listening.length > 0 ? `, but on ${listening.join(', ')}` : '';
  return `it does not listen on ${missing.join(', ')}${elsewhere}`;
}

/** Its word may arrive before the news of its spawn: without a pid nobody is ready. */
export function becomeReadyIf(d: Draft, w: WorkerState): void {
  const mode = d.policyOf(w.generation).ready;
  if (w.phase !== 'starting' || w.pid === null || mode === 'start' || d.isOver(w)) return;
  const said = w.saidReady || (mode === 'listen' && w.listening.length > 0);
  if (said && missingListeners(d, w).length === 0) becomeReady(d, w);
}

/** After a change of what is asked of those that are starting. */
export function askAllAgain(d: Draft): void {
  for (const w of d.workers.slice()) becomeReadyIf(d, w);
}

export function becomeReady(d: Draft, w: WorkerState): void {
  d.patch(w, { phase: 'ready', readyAtMs: d.now, deadlineMs: null, ageUpAtMs: ageUpAtMs(d, w) });
  d.s.everReady = true;
  d.setSlot(w.slot, { failures: 0, notBeforeMs: 0 });
  if (d.s.rollout !== null && d.isCandidate(w)) d.s.rollout = { ...d.s.rollout, batchAtMs: d.now };
  const { id: workerId, slot, generation, pid } = w;
  d.log('info', { what: 'worker-ready', workerId, slot, generation, pid, afterMs: d.now - w.spawnedAtMs });
  d.statusChanged();
}

function ageUpAtMs(d: Draft, w: WorkerState): number | null {
  const { maxAgeMs } = d.policyOf(w.generation);
  return maxAgeMs === 0 ? null : d.now + maxAgeMs * (1 - MAX_AGE_JITTER * d.random());
}
