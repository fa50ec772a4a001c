/** How many slots there are to be: what was asked for, and what the load makes of it. A book of its own, as in `Ledger`. */
import type { Command } from '../../src/core/command';
import type { Event } from '../../src/core/event';
import type { Policy } from '../../src/core/policy';
import type { State } from '../../src/core/state';

/** As documented: a look a second, up to 32 workers more at a look, and fewer only after five calm seconds. */
const SOONEST_MS = 900;
const MOST = 32;
const CALM_MS = 5000;

interface Look {
  atMs: number;
  saw: 'few' | 'many' | 'enough';
}

export class Size {
  #desired: number;
  #floor: number;
  /** since the pool began to follow the load */
  #looks: Look[] = [];

  constructor(state: State) {
    this.#desired = state.desired;
    this.#floor = state.policy.minWorkers;
  }

  /** Notes a step; what is wrong with it. */
  check(
    before: State,
    event: Event,
    after: State,
    commands: readonly Command[],
    nowMs: number,
  ): string | null {
    if (before.phase === 'running') {
      if (event.type === 'load') this.#load(before, event.idle, event.busy, nowMs);
      else this.#asked(before, event);
    }
    if (commands.some((c) => c.type === 'rolloutEnded' && c.ok)) this.#committed(before, after.policy);
    if (after.desired !== this.#desired) return `${after.desired} slots, and ${this.#desired} were asked for`;
    if (after.policy.elastic !== null && after.elastic.floor !== this.#floor)
      return `a floor of ${after.elastic.floor} slots, and ${this.#floor} were asked for`;
    return null;
  }

  #load({ policy, rollout }: State, idle: number, busy: number, nowMs: number): void {
    if (policy.elastic === null || rollout !== null) return;
    const last = this.#looks.at(-1)?.atMs ?? -Infinity;
    if (nowMs - last < SOONEST_MS) return;
    const { minSpare, maxSpare } = policy.elastic;
    const free = this.#desired - busy;
    const saw = free < minSpare ? 'few' : free > maxSpare && idle > maxSpare ? 'many' : 'enough';
    this.#looks.push({ atMs: nowMs, saw });
    if (saw === 'few') this.#rise(policy.maxWorkers, maxSpare - free);
    const calm = this.#looks.slice(1 + this.#looks.findLastIndex((look) => look.saw !== 'many'));
    const isCalm = saw === 'many' && nowMs - (calm[0]?.atMs ?? nowMs) >= CALM_MS;
    if (isCalm && this.#desired > this.#floor) this.#desired--;
  }

  /** Twice as many as at the look before, where that asked for more as well. */
  #rise(max: number, useful: number): void {
    const inARow = this.#looks.length - 1 - this.#looks.findLastIndex((look) => look.saw !== 'few');
    const by = Math.min(2 ** (inARow - 1), MOST, useful, max - this.#desired);
    this.#desired += by;
    // At the upper bound the row begins anew.
    if (by === 0) this.#looks.push({ atMs: this.#looks.at(-1)?.atMs ?? 0, saw: 'enough' });
  }

  #asked(state: State, event: Event): void {
    const { policy } = state;
    if (policy.generationPerSpawn) return;
    const isElastic = policy.elastic !== null;
    const base = isElastic ? this.#floor : this.#desired;
    let wanted = base;
    if (event.type === 'control' && event.request.do === 'scale') wanted = Math.trunc(event.request.workers);
    if (event.type === 'signal') {
      const action = policy.signals[event.signal];
      if (action?.do === 'scale') wanted = base + action.by;
    }
    if (Number.isNaN(wanted)) return;
    const slots = within(policy, wanted);
    if (slots === base) return;
    this.#floor = slots;
    this.#desired = isElastic ? Math.max(this.#desired, slots) : slots;
  }

  /** A configuration that asks for another number than before wins over all that was asked for since. */
  #committed({ policy: former }: State, policy: Policy): void {
    const same = keeps(former, policy);
    this.#desired = within(policy, same ? this.#desired : policy.workers);
    if (same && former.minWorkers === policy.minWorkers) this.#floor = within(policy, this.#floor);
    else {
      this.#floor = policy.minWorkers;
      this.#looks = [];
    }
  }
}

/** Slots of a generation with that policy. */
export const slotsOf = (state: State, policy: Policy): number =>
  within(policy, keeps(state.policy, policy) ? state.desired : policy.workers);

const keeps = (former: Policy, policy: Policy): boolean =>
  former.workers === policy.workers && (former.elastic === null) === (policy.elastic === null);

const within = ({ minWorkers, maxWorkers }: Policy, slots: number): number =>
  Math.max(minWorkers, Math.min(slots, maxWorkers));
