/** A pool whose size follows the load, as Apache's does: fast up, one at a time down, and down only after a while. */
import type { Draft } from './draft';
import type { Policy } from './policy';
import { type ElasticState, initialElastic } from './state';

/** The load is looked at once a second; what comes sooner is passed over. A timer may be a little early. */
export const LOOK_MS = 1000;
const EARLY_MS = 100;
/** Slots that one look adds at most: 1, 2, 4 … from look to look. */
export const MAX_GROWTH = 32;
/** More than maxSpare have to be idle for so long before a slot is given up. */
export const CALM_MS = 5000;

/**
 * Takes in how many ready workers were idle and busy, and moves the number of slots. Not while a generation is being
 * replaced: there are two of it then.
 */
export function onLoad(d: Draft, idle: number, busy: number): void {
  const { policy, phase, rollout, elastic: was } = d.s;
  if (policy.elastic === null || phase !== 'running' || rollout !== null) return;
  if (was.lookedAtMs !== null && d.now - was.lookedAtMs < LOOK_MS - EARLY_MS) return;
  const { minSpare, maxSpare } = policy.elastic;
  // Those that are starting, or will be when their backoff is over, are idle soon.
  const free = d.s.desired - busy;
  const look = { ...was, lookedAtMs: d.now };
  if (free < minSpare) grow(d, look, maxSpare - free, { idle, busy });
  else if (Math.min(idle, free) > maxSpare) shrink(d, look, { idle, busy });
  else d.s.elastic = { ...look, growBy: 1, calmSinceMs: null, fullSaid: false };
}

interface Load {
  idle: number;
  busy: number;
}

/** At most `atMost` more: they would be idle in the end. */
function grow(d: Draft, look: ElasticState, atMost: number, load: Load): void {
  const { desired, policy } = d.s;
  const by = Math.min(look.growBy, atMost, policy.maxWorkers - desired);
  const isFull = by === 0;
  const growBy = isFull ? 1 : Math.min(look.growBy * 2, MAX_GROWTH);
  d.s.elastic = { ...look, growBy, calmSinceMs: null, fullSaid: isFull };
  if (!isFull) resize(d, desired + by, load);
  else if (!look.fullSaid) d.log('warn', { what: 'pool-full', workers: desired, ...load });
}

function shrink(d: Draft, look: ElasticState, load: Load): void {
  const calmSinceMs = look.calmSinceMs ?? d.now;
  d.s.elastic = { ...look, growBy: 1, calmSinceMs, fullSaid: false };
  if (d.now - calmSinceMs >= CALM_MS && d.s.desired > look.floor) resize(d, d.s.desired - 1, load);
}

function resize(d: Draft, workers: number, load: Load): void {
  d.s.desired = workers;
  d.log('info', { what: 'pool-resized', workers, ...load });
  d.statusChanged();
}

/** Asked for from outside: the number of slots, or where it follows the load its floor. Both stay within their bounds. */
export function scale(d: Draft, workers: number): void {
  const { policy, desired, elastic, phase } = d.s;
  if (phase === 'stopping' || policy.generationPerSpawn) return;
  const wanted = within(policy, Math.trunc(workers));
  if (Number.isNaN(wanted) || wanted === (policy.elastic === null ? desired : elastic.floor)) return;
  d.s.elastic = { ...elastic, floor: wanted };
  d.s.desired = policy.elastic === null ? wanted : Math.max(desired, wanted);
  d.log('info', { what: 'scaled', workers: wanted });
  d.statusChanged();
}

/** One more, or one fewer. */
export function scaleBy(d: Draft, by: 1 | -1): void {
  scale(d, (d.s.policy.elastic === null ? d.s.desired : d.s.elastic.floor) + by);
}

/** Slots of a generation: those that its own configuration asks for where that changed, else as many as now. */
export function slotsOf(d: Draft, policy: Policy): number {
  const { policy: former, desired } = d.s;
  return within(policy, isKept(former, policy) ? desired : policy.workers);
}

/** For the commit of a generation with that policy. */
export function elasticOf(d: Draft, policy: Policy): ElasticState {
  const { policy: former, elastic } = d.s;
  const stays = isKept(former, policy) && former.minWorkers === policy.minWorkers;
  return stays ? { ...elastic, floor: within(policy, elastic.floor) } : initialElastic(policy);
}

/** Whether what was asked for since the start holds on under another configuration. */
const isKept = (former: Policy, policy: Policy): boolean =>
  former.workers === policy.workers && (former.elastic === null) === (policy.elastic === null);

const within = ({ minWorkers, maxWorkers }: Policy, workers: number): number =>
  Math.min(Math.max(workers, minWorkers), maxWorkers);
