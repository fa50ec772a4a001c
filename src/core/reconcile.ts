/** Desired against actual: fills slots, moves rollouts on, lets surplus workers go. Runs after every event. */
import type { Draft } from './draft';
import { slotsOf } from './elastic';
import { hungTooLong, mayReplace, retireAged, retirement } from './retirement';
import { autoRestart, beginQueued, failRollout, progressRollout, rollingSlots } from './rollout';
import { isActive, isServing, type LeaveReason, type WorkerState } from './state';
import { reconcileStop } from './stop';

export function reconcile(d: Draft): void {
  if (d.s.phase === 'running') {
    progressRollout(d);
    giveUpUnspawnable(d);
    beginQueued(d);
    autoRestart(d);
    retireAged(d);
    drainSurplus(d);
    fill(d);
    passSignalOn(d);
    sayStarted(d);
  }
  // Not an else: filling may have ended in a stop.
  if (d.s.stop !== null) reconcileStop(d, d.s.stop);
  for (const w of d.workers) if (w.deadlineMs !== null) d.later(w.deadlineMs);
}

/** The generation whose worker should fill the slot; a rolling rollout's window belongs to the new one. */
function targetGeneration(d: Draft, slot: number): number {
  const { rollout } = d.s;
  return rollout !== null && slot < rollingSlots(d) ? rollout.generation : d.s.generation;
}

// --- filling ---------------------------------------------------------------------------------------------------

function fill(d: Draft): void {
  const { rollout } = d.s;
  const candidates = rollout === null ? [] : activeBySlot(d, rollout.generation);
  // A new generation first: what replaces the old must not wait for a respawn of the old.
  if (rollout?.policy?.rollout === 'surge' && d.now >= rollout.notBeforeMs) {
    const slots = slotsOf(d, rollout.policy);
    for (let slot = 0; slot < slots; slot++) ensure(d, slot, rollout.generation, candidates);
  }
  // Where every spawn is a generation of its own, the new one takes the place of an old one that ends meanwhile.
  if (rollout !== null && d.s.policy.generationPerSpawn) return;
  const serving = activeBySlot(d, d.s.generation);
  const rolling = rollingSlots(d);
  const slots = Math.max(d.s.desired, rolling);
  for (let slot = 0; slot < slots; slot++) {
    ensure(d, slot, targetGeneration(d, slot), slot < rolling ? candidates : serving);
  }
}

type BySlot = readonly (readonly WorkerState[] | undefined)[];

function activeBySlot(d: Draft, generation: number): BySlot {
  const bySlot: WorkerState[][] = [];
  for (const w of d.workers) {
    if (w.generation !== generation || !isActive(w)) continue;
    const others = bySlot[w.slot];
    if (others === undefined) bySlot[w.slot] = [w];
    else others.push(w);
  }
  return bySlot;
}

function ensure(d: Draft, slot: number, generation: number, bySlot: BySlot): void {
  const active = bySlot[slot];
  if (active === undefined || (active.every((w) => w.retiring !== null) && mayReplace(d, active))) {
    spawnInto(d, slot, generation);
  }
}

function spawnInto(d: Draft, slot: number, target: number): void {
  const { notBeforeMs } = d.slot(slot);
  if (d.now < notBeforeMs) {
    d.later(notBeforeMs);
    return;
  }
  if (!takeToken(d)) return;
  const generation = d.s.policy.generationPerSpawn && target === d.s.generation ? nextGeneration(d) : target;
  const policy = d.policyOf(generation);
  const workerId = d.s.nextWorkerId++;
  // The start interval counts from the process, the ready timeout from the wish for one.
  const limitMs = policy.ready === 'start' ? null : policy.readyTimeoutMs;
  d.workers.push({
    id: workerId,
    slot,
    generation,
    pid: null,
    phase: 'starting',
    spawnedAtMs: d.now,
    readyAtMs: null,
    deadlineMs: limitMs === null ? null : d.now + limitMs,
    listening: [],
    saidReady: false,
    retiring: null,
    retiringAtMs: null,
    ageUpAtMs: null,
    leaving: null,
    stopped: false,
  });
  const jitter = policy.maxRequests > 0 ? Math.floor(d.random() * (policy.maxRequestsJitter + 1)) : 0;
  d.commands.push({ type: 'spawn', workerId, slot, generation, maxRequests: policy.maxRequests + jitter });
}

/** Where every spawn is a generation of its own, a respawn is the next one. */
function nextGeneration(d: Draft): number {
  d.s.lastGeneration += 1;
  d.s.generation = d.s.lastGeneration;
  return d.s.generation;
}

/** The bound on the rate of spawns, whatever goes wrong. */
function takeToken(d: Draft): boolean {
  const { spawnBurst, spawnPerSecond } = d.s.policy;
  const refill = ((d.now - d.s.tokensAtMs) * spawnPerSecond) / 1000;
  d.s.tokens = Math.min(spawnBurst, d.s.tokens + refill);
  d.s.tokensAtMs = d.now;
  if (d.s.tokens < 1) {
    // Rounded up to whole milliseconds: a tick too early would find the token not quite there.
    d.later(d.now + Math.ceil(((1 - d.s.tokens) * 1000) / spawnPerSecond));
    return false;
  }
  d.s.tokens -= 1;
  return true;
}

/** A new generation whose spawns keep failing for passing reasons has the ready timeout a batch, no longer. */
function giveUpUnspawnable(d: Draft): void {
  const { rollout } = d.s;
  if (rollout?.policy?.readyTimeoutMs == null || d.s.policy.retryRollout) return;
  // A worker that is starting has a timeout of its own.
  if (d.workers.some((w) => w.generation === rollout.generation && w.phase === 'starting')) return;
  const limitAtMs = rollout.batchAtMs + rollout.policy.readyTimeoutMs;
  if (d.now >= limitAtMs)
    failRollout(d, rollout, 'its workers could not be started within the ready timeout', d.now);
  else d.later(limitAtMs);
}

// --- letting go ------------------------------------------------------------------------------------------------

function drainSurplus(d: Draft): void {
  let serving = d.workers.filter(isServing).length;
  const told = new Set<number>();
  for (const w of d.workers.slice()) {
    if (!isActive(w)) continue;
    const reason = surplusReason(d, w);
    if (reason === null) continue;
    if (isServing(w)) {
      // Whatever the plan, somebody serves.
      if (serving <= 1) continue;
      serving--;
    }
    d.drain(w, reason, reason === 'hung' ? 'SIGQUIT' : d.s.policy.drainSignal);
    if (reason === 'rollout') told.add(w.id);
  }
  if (told.size > 0 && d.s.policy.drainAgain) tellAgain(d, told);
}

/** Reminds the workers of earlier generations that have not ended yet. */
function tellAgain(d: Draft, told: ReadonlySet<number>): void {
  for (const w of d.workers) {
    if (w.phase === 'draining' && w.leaving === 'rollout' && !told.has(w.id)) {
      d.signal(w, d.s.policy.drainSignal);
    }
  }
}

function surplusReason(d: Draft, w: WorkerState): LeaveReason | null {
  if (hungTooLong(d, w)) return 'hung';
  const target = targetGeneration(d, w.slot);
  if (w.generation === target || d.isCandidate(w)) {
    if (w.slot >= slotsOf(d, d.policyOf(w.generation))) return 'scale';
    return w.retiring === null ? null : retirement(d, w);
  }
  const reason = w.generation > d.s.generation ? 'rollback' : 'rollout';
  if (w.phase === 'starting') return reason;
  const atMs = d.s.committedAtMs + d.s.policy.killOldDelayMs;
  if (w.slot < d.s.desired && !isReplaced(d, w, target)) return null;
  // One that asks to leave is not kept.
  if (d.now < atMs && reason === 'rollout' && w.retiring === null) {
    d.later(atMs);
    return null;
  }
  return reason;
}

/** Of several generations that failed, one worker at most waits for the slot's own. */
function isReplaced(d: Draft, w: WorkerState, target: number): boolean {
  const failed = w.generation > d.s.generation;
  return d.workers.some(
    (other) =>
      other.slot === w.slot &&
      other.phase === 'ready' &&
      other.retiring === null &&
      (other.generation === target || (failed && other.generation < w.generation)),
  );
}

// --- the rest ----------------------------------------------------------------------------------------------------

function passSignalOn(d: Draft): void {
  const { stagger } = d.s;
  if (stagger === null) return;
  if (d.now < stagger.nextAtMs) {
    d.later(stagger.nextAtMs);
    return;
  }
  const left = stagger.workerIds.filter((id) => d.find(id) !== undefined);
  const [first, ...rest] = left;
  const w = first === undefined ? undefined : d.find(first);
  if (w) d.signal(w, stagger.signal);
  const nextAtMs = d.now + stagger.intervalMs;
  d.s.stagger = rest.length > 0 ? { ...stagger, workerIds: rest, nextAtMs } : null;
  if (d.s.stagger !== null) d.later(nextAtMs);
}

function sayStarted(d: Draft): void {
  if (d.s.started) return;
  const ready = new Set<number>();
  for (const w of d.workers) if (w.phase === 'ready') ready.add(w.slot);
  for (let slot = 0; slot < d.s.desired; slot++) if (!ready.has(slot)) return;
  d.s.started = true;
  const afterMs = d.now - d.s.committedAtMs;
  d.log('info', { what: 'started', generation: d.s.generation, workers: d.s.desired, afterMs });
  d.commands.push({ type: 'started' });
}
