/** How one generation replaces another: begin, commit, fail. */
import type { Draft } from './draft';
import type { Policy } from './policy';
import { elasticOf, slotsOf } from './elastic';
import { askAllAgain } from './ready';
import { isActive, isServing, type Rollout, type State } from './state';

export function beginReload(d: Draft): void {
  if (d.s.phase !== 'running') return;
  if (d.s.rollout !== null || keepsOld(d)) {
    if (!d.s.reloadQueued) d.log('info', { what: 'rollout-queued' });
    d.s.reloadQueued = true;
    return;
  }
  begin(d, null, d.now);
  d.commands.push({ type: 'reloadConfig', generation: d.s.lastGeneration });
}

/** Takes up the reload that had to wait. */
export function beginQueued(d: Draft): void {
  if (!d.s.reloadQueued || d.s.rollout !== null || keepsOld(d)) return;
  d.s.reloadQueued = false;
  beginReload(d);
}

/** Old workers live on until the delay is over. Another generation before that would let them pile up. */
function keepsOld(d: Draft): boolean {
  const untilMs = d.s.committedAtMs + d.s.policy.killOldDelayMs;
  if (d.now >= untilMs || !d.workers.some((w) => w.generation !== d.s.generation && isActive(w)))
    return false;
  d.later(untilMs);
  return true;
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
  d.forgetFailures();
  d.log('info', { what: 'rollout-started', generation, mode: policy.rollout });
}

export function configFailed(d: Draft, generation: number, reason: string): void {
  const { rollout } = d.s;
  if (rollout?.generation === generation && rollout.policy === null) failRollout(d, rollout, reason, d.now);
}

/** Slots that belong to the new generation before it is committed: those of a rolling rollout's batches so far. */
export function rollingSlots(d: Draft): number {
  const { rollout } = d.s;
  return rollout?.policy?.rollout === 'rolling' ? Math.min(rollout.window, slotsOf(d, rollout.policy)) : 0;
}

/** Gives the new generation up; its workers become surplus, and what serves goes on serving. */
export function failRollout(d: Draft, rollout: Rollout, reason: string, spawnedAtMs: number): void {
  const { generation, policy } = rollout;
  d.s.rollout = null;
  d.s.attemptedAtMs = d.now;
  d.log('error', { what: 'rollout-failed', generation, reason, serving: d.s.generation });
  d.commands.push({ type: 'rolloutEnded', generation, ok: false, reason });
  // A reload that waits brings the configuration of now.
  if (policy === null || !d.s.policy.retryRollout || d.s.reloadQueued) return;
  begin(d, policy, spawnedAtMs + policy.startIntervalMs);
}

/** Commits the new generation, or lets the next batch begin. */
export function progressRollout(d: Draft): void {
  const { rollout } = d.s;
  if (rollout?.policy == null) return;
  if (d.now < rollout.notBeforeMs) {
    d.later(rollout.notBeforeMs);
    return;
  }
  const { generation, policy } = rollout;
  const slots = slotsOf(d, policy);
  const ready = new Set<number>();
  for (const w of d.workers) {
    if (w.generation === generation && isServing(w) && w.slot < slots) ready.add(w.slot);
  }
  if (policy.rollout === 'surge') {
    if (ready.size >= Math.max(1, Math.ceil(policy.rolloutReady * slots))) commit(d, rollout, policy);
    return;
  }
  const window = Math.min(rollout.window, slots);
  for (let slot = 0; slot < window; slot++) if (!ready.has(slot)) return;
  if (window === slots) commit(d, rollout, policy);
  else {
    d.s.rollout = { ...rollout, window: Math.min(window + policy.rolloutBatch, slots), batchAtMs: d.now };
  }
}

function commit(d: Draft, { generation, startedAtMs }: Rollout, policy: Policy): void {
  const desired = slotsOf(d, policy);
  const elastic = elasticOf(d, policy);
  Object.assign(d.s, {
    generation,
    policy,
    desired,
    elastic,
    committedAtMs: d.now,
    attemptedAtMs: d.now,
    rollout: null,
  });
  d.log('info', { what: 'rollout-committed', generation, afterMs: d.now - startedAtMs });
  d.commands.push({ type: 'rolloutEnded', generation, ok: true, reason: null });
  d.statusChanged();
  askAllAgain(d);
}

/** Says which generations came to their end in this step: they neither serve nor begin, and their last worker has gone. */
export function tellEnded(d: Draft, before: State): void {
  const lives = (generation: number): boolean =>
    generation === d.s.generation ||
    generation === d.s.rollout?.generation ||
    d.workers.some((w) => w.generation === generation);
  const former = new Set(before.workers.map((w) => w.generation));
  // 0: none has begun yet.
  if (before.generation > 0) former.add(before.generation);
  if (before.rollout !== null) former.add(before.rollout.generation);
  for (const generation of former) {
    if (!lives(generation)) d.commands.push({ type: 'generationEnded', generation });
  }
}

/** Server::Starter's auto-restart: by age, put off while old workers remain, forced at twice the age. */
export function autoRestart(d: Draft): void {
  const intervalMs = d.s.policy.autoRestartIntervalMs;
  if (intervalMs <= 0 || d.s.rollout !== null || d.s.reloadQueued || !d.s.everReady) return;
  const dueAtMs = d.s.attemptedAtMs + intervalMs;
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
