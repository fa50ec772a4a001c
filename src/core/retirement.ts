/** Workers that should leave while the service goes on: hung, aged, too big, or asked to. How many at a time, and when. */
import type { Draft } from './draft';
import { HUNG_WAIT_MS } from './policy';
import { isActive, isHung, isServing, type LeaveReason, type WorkerState } from './state';

/** Marks a ready worker: it serves on until it is replaced. To hang is worse than any other reason. */
export function retire(d: Draft, w: WorkerState, reason: string): void {
  const already = w.retiring !== null && (w.retiring === 'hung' || reason !== 'hung');
  if (w.phase !== 'ready' || already) return;
  d.patch(w, { retiring: reason, retiringAtMs: d.now });
  const { id: workerId, slot, generation, pid } = w;
  const level = reason === 'hung' ? 'warn' : 'info';
  d.log(level, { what: 'worker-retiring', workerId, slot, generation, pid, reason });
}

/** Marks those whose age is up. */
export function retireAged(d: Draft): void {
  for (const w of d.workers.slice()) {
    if (w.phase !== 'ready' || w.retiring !== null || w.ageUpAtMs === null) continue;
    if (d.now >= w.ageUpAtMs) retire(d, w, 'max-age');
    else d.later(w.ageUpAtMs);
  }
}

/**
 * Whether the retiring workers of a slot get their successor before they leave: as spare allows, where they hang before
 * all others, and always where nobody else serves.
 */
export function mayReplace(d: Draft, retiring: readonly WorkerState[]): boolean {
  // A replacement that retires in its turn waits until its predecessor has gone.
  if (retiring.length > 1) return false;
  const { spare } = d.s.policy;
  const alone = d.workers.filter(isServing).length <= 1;
  const free = (alone ? Math.max(spare, 1) : spare) - replacements(d);
  return free > 0 && (retiring.some(isHung) || free > unreplacedHung(d));
}

/** Active workers beyond one a slot and generation: replacements whose predecessors have not left. */
function replacements(d: Draft): number {
  const seen = new Set<string>();
  let extra = 0;
  for (const w of d.workers) {
    if (!isActive(w)) continue;
    const place = `${w.slot}/${w.generation}`;
    if (seen.has(place)) extra++;
    seen.add(place);
  }
  return extra;
}

function unreplacedHung(d: Draft): number {
  return d.workers.filter((w) => isHung(w) && !d.workers.some((other) => isSuccessor(w, other))).length;
}

const isSuccessor = (w: WorkerState, other: WorkerState): boolean =>
  sharePlace(w, other) && other.retiring === null && isActive(other);

const sharePlace = (a: WorkerState, b: WorkerState): boolean =>
  a.slot === b.slot && a.generation === b.generation;

/** Of two that retire in one place the younger serves on. */
const relieves = (w: WorkerState, other: WorkerState): boolean =>
  sharePlace(w, other) && isServing(other) && (isHung(w) || other.retiring === null || other.id > w.id);

/** Why a retiring worker leaves now; null: it has to wait. */
export function retirement(d: Draft, w: WorkerState): LeaveReason | null {
  const relieved = d.workers.some((other) => relieves(w, other));
  // Without a spare it goes first, unless nobody else serves.
  const waits = d.s.policy.spare > 0 || !d.workers.some(isServing);
  if (!relieved && waits) return null;
  if (isHung(w)) return 'hung';
  return leaving(d) < maxLeaving(d.s.desired) ? 'retire' : null;
}

/** A worker that hangs is not kept for want of a replacement. */
export function hungTooLong(d: Draft, w: WorkerState): boolean {
  if (!isHung(w) || w.retiringAtMs === null) return false;
  const untilMs = w.retiringAtMs + HUNG_WAIT_MS;
  if (d.now >= untilMs) return true;
  d.later(untilMs);
  return false;
}

/** Of a pool, so many at most leave for retirement at once: half of it. Those that hang served nothing, and are not counted. */
export const maxLeaving = (desired: number): number => Math.max(1, Math.floor(desired / 2));

/** Counted there: told to retire, or leaving by themselves. */
export const leavesPool = (w: WorkerState): boolean => w.leaving === 'retire' || w.leaving === 'self';

const leaving = (d: Draft): number => d.workers.filter(leavesPool).length;
