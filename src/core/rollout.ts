/** How one generation replaces another: begin, commit, fail. */
import type { Draft } from './draft';
import type { Policy } from './policy';
import { isActive } from './state';

export function beginReload(d: Draft): void {
  if (d.s.phase !== 'running') return;
  if (d.s.rollout !== null) {
    if (!d.s.reloadQueued) d.log('info', { what: 'rollout-queued' });
    d.s.reloadQueued = true;
    return;
  }
  begin(d, null, d.now);
  d.commands.push({ type: 'reloadConfig', generation: d.s.lastGeneration });
}

function begin(d: Draft, policy: Policy | null, notBeforeMs: number): void {
  const generation = d.s.lastGeneration + 1;
  d.s.lastGeneration = generation;
  d.s.rollout = { generation, policy, startedAtMs: d.now, batchAtMs: d.now, window: 0, notBeforeMs };
}

export function configLoaded(d: Draft, generation: number, policy: Policy): void {
  const { rollout } = d.s;
  if (rollout === null || rollout.generation !== generation || rollout.policy !== null) return;
  d.s.rollout = { ...rollout, policy, startedAtMs: d.now, batchAtMs: d.now };
  d.log('info', { what: 'rollout-started', generation, mode: policy.rollout });
}

export function configFailed(d: Draft, generation: number, reason: string): void {
  const { rollout } = d.s;
  if (rollout?.generation === generation && rollout.policy === null) failRollout(d, reason, d.now);
}

/** Slots of the new generation: those its own configuration asks for where that changed, else as many as now. */
export function candidateSlots(d: Draft): number {
  const wanted = d.s.rollout?.policy?.workers ?? d.s.desired;
  return wanted === d.s.policy.workers ? d.s.desired : wanted;
}

/** Gives the new generation up; its workers become surplus, and what serves goes on serving. */
export function failRollout(d: Draft, reason: string, spawnedAtMs: number): void {
  const { rollout } = d.s;
  if (rollout === null) return;
  const { generation, policy } = rollout;
  d.s.rollout = null;
  d.log('error', { what: 'rollout-failed', generation, reason, serving: d.s.generation });
  d.commands.push({ type: 'rolloutEnded', generation, ok: false, reason });
  endGenerationIfEmpty(d, generation);
  if (policy !== null && d.s.policy.retryRollout) begin(d, policy, spawnedAtMs + policy.startIntervalMs);
  else nextReload(d);
}

/** Commits the new generation, or lets the next batch begin. */
export function progressRollout(d: Draft): void {
  const { rollout } = d.s;
  if (rollout?.policy == null) return;
  const { generation, policy } = rollout;
  const slots = candidateSlots(d);
  const ready = new Set<number>();
  for (const w of d.workers) {
    if (w.generation === generation && w.phase === 'ready' && w.slot < slots) ready.add(w.slot);
  }
  if (policy.rollout === 'surge') {
    if (ready.size >= Math.max(1, Math.ceil(policy.rolloutReady * slots))) commit(d);
    return;
  }
  const window = Math.min(rollout.window, slots);
  for (let slot = 0; slot < window; slot++) if (!ready.has(slot)) return;
  if (window === slots) commit(d);
  else {
    d.s.rollout = { ...rollout, window: Math.min(window + policy.rolloutBatch, slots), batchAtMs: d.now };
  }
}

function commit(d: Draft): void {
  const { rollout } = d.s;
  if (rollout?.policy == null) return;
  const { generation, policy, startedAtMs } = rollout;
  const desired = candidateSlots(d);
  const former = d.s.generation;
  Object.assign(d.s, { generation, policy, desired, committedAtMs: d.now, rollout: null });
  d.log('info', { what: 'rollout-committed', generation, afterMs: d.now - startedAtMs });
  d.commands.push({ type: 'rolloutEnded', generation, ok: true, reason: null });
  d.statusChanged();
  endGenerationIfEmpty(d, former);
  nextReload(d);
}

function nextReload(d: Draft): void {
  if (!d.s.reloadQueued) return;
  d.s.reloadQueued = false;
  beginReload(d);
}

/** Says so when the last worker of a generation that is over has gone. */
export function endGenerationIfEmpty(d: Draft, generation: number): void {
  if (generation === d.s.generation || generation === d.s.rollout?.generation) return;
  if (d.workers.some((w) => w.generation === generation)) return;
  d.commands.push({ type: 'generationEnded', generation });
}

/** Server::Starter's auto-restart: by age, put off while old workers remain, forced at twice the age. */
export function autoRestart(d: Draft): void {
  const intervalMs = d.s.policy.autoRestartIntervalMs;
  if (intervalMs <= 0 || d.s.rollout !== null || !d.s.everReady) return;
  const dueAtMs = d.s.committedAtMs + intervalMs;
  const forcedAtMs = dueAtMs + intervalMs;
  const oldRemain = d.workers.some((w) => w.generation !== d.s.generation || !isActive(w));
  const atMs = oldRemain ? forcedAtMs : dueAtMs;
  if (d.now < atMs) {
    d.later(atMs);
    return;
  }
  d.log('info', { what: 'auto-restart', intervalMs, forced: oldRemain });
  beginReload(d);
}
