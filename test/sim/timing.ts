/** What may happen to a worker when: readiness, backoff, replacement, KILL. Kept in books of its own, as in `Ledger`. */
import type { Command } from '../../src/core/command';
import type { Event } from '../../src/core/event';
import { HUNG_WAIT_MS, MAX_AGE_JITTER, type Policy } from '../../src/core/policy';
import { isActive, isHung, type State, type WorkerState } from '../../src/core/state';
import { slotsOf } from './size';

interface Book {
  spawnedAtMs: number;
  /** no KILL before, but in a stop that does not wait */
  killFromMs: number;
  saidReady: boolean;
  /** it has hung from then on */
  hungAtMs: number;
  /** it is to be marked between these */
  ageFromMs: number;
  ageToMs: number;
  readonly listening: Set<string>;
}

export class Timing {
  /** ready workers that hang, or asked to be replaced */
  readonly mustLeave = new Set<number>();
  readonly #books = new Map<number, Book>();
  /** by slot: failures in a row before ready, and between what times the next spawn is due */
  readonly #slots = new Map<number, { failures: number; notBeforeMs: number; notAfterMs: number }>();

  /** Notes a step; what is wrong with it. */
  check(
    before: State,
    event: Event,
    after: State,
    commands: readonly Command[],
    nowMs: number,
  ): string | null {
    this.#note(before, event, nowMs);
    let wrong = this.#event(before, event, after, commands, nowMs);
    this.#noteSlots(before, commands, nowMs);
    let at = 0;
    for (const w of after.workers) {
      // Both are in the order of their ids.
      while ((before.workers[at]?.id ?? w.id) < w.id) at++;
      const was = before.workers[at]?.id === w.id ? before.workers[at] : undefined;
      if (was !== undefined && was.phase !== w.phase) {
        wrong ??= this.#change(before, was, w, after, nowMs) ?? untold(w, commands);
      } else if (was !== undefined && was !== w) wrong ??= altered(was, w);
      const waits = w.phase === 'starting' && w.generation === after.generation && after.phase === 'running';
      wrong ??= this.#retiring(was, w, after, nowMs);
      if (waits && this.#lacking(w, after.policy, nowMs) === null)
        wrong ??= 'a worker lacks nothing and is not ready';
    }
    for (const command of commands)
      if (command.type === 'spawn') wrong ??= this.#spawn(command, after, nowMs);
    return wrong ?? this.#unfilled(after, nowMs);
  }

  #note(before: State, event: Event, nowMs: number): void {
    if (event.type === 'control' && event.request.do === 'retire')
      this.#leaves(before, event.request.workerId);
    if (!('workerId' in event) || event.workerId === null) return;
    const { workerId } = event;
    if (event.type === 'hung' || event.type === 'retire') this.#leaves(before, workerId);
    if (!before.workers.some(({ id }) => id === workerId)) return;
    const book = this.#bookOf(workerId);
    const ready = before.workers.some((w) => w.id === workerId && w.phase === 'ready');
    if (event.type === 'spawned') book.spawnedAtMs = nowMs;
    else if (event.type === 'hung' && ready) book.hungAtMs = Math.min(book.hungAtMs, nowMs);
    else if (event.type === 'ready') book.saidReady = true;
    else if (event.type === 'listening') book.listening.add(event.key);
    else if (event.type === 'unlistening') book.listening.delete(event.key);
    else if (event.type === 'exited' || event.type === 'spawnFailed') this.#books.delete(workerId);
  }

  #leaves(before: State, workerId: number): void {
    if (before.workers.some((w) => w.id === workerId && w.phase === 'ready')) this.mustLeave.add(workerId);
  }

  #bookOf(workerId: number): Book {
    let book = this.#books.get(workerId);
    if (book === undefined) {
      book = {
        spawnedAtMs: Infinity,
        killFromMs: Infinity,
        saidReady: false,
        hungAtMs: Infinity,
        ageFromMs: Infinity,
        ageToMs: Infinity,
        listening: new Set(),
      };
      this.#books.set(workerId, book);
    }
    return book;
  }

  /** The end of a worker: a failure of its slot, or of its generation. */
  #event(
    before: State,
    event: Event,
    after: State,
    commands: readonly Command[],
    nowMs: number,
  ): string | null {
    if (event.type === 'configLoaded' && before.rollout?.generation === event.generation) this.#slots.clear();
    if (event.type === 'spawned') {
      const spawned = after.workers.find(({ id }) => id === event.workerId);
      return spawned === undefined || isActive(spawned) ? null : untold(spawned, commands);
    }
    if (event.type !== 'exited' && event.type !== 'spawnFailed') return null;
    const w = before.workers.find(({ id }) => id === event.workerId);
    if (w === undefined || before.phase !== 'running') return null;
    const byItself = event.type === 'spawnFailed' || w.leaving === null || w.leaving === 'self';
    const passing = event.type === 'spawnFailed' && event.transient;
    if (w.generation === before.rollout?.generation && byItself && !passing) {
      const failed = commands.some(
        (c) => c.type === 'rolloutEnded' && c.generation === w.generation && !c.ok,
      );
      return failed ? null : 'a generation went on that lost a worker before its commit';
    }
    if (byItself && w.readyAtMs === null && after.phase === 'running') this.#failed(w, before.policy, nowMs);
    return null;
  }

  /** In the order in which the step came to them: one worker of a slot may be ready and another's time be up. */
  #noteSlots(before: State, commands: readonly Command[], nowMs: number): void {
    for (const command of commands) {
      if (command.type !== 'log') continue;
      const { entry } = command;
      if (entry.what === 'worker-ready') this.#slots.delete(entry.slot);
      if (entry.what !== 'worker-leaving' || entry.reason !== 'ready-timeout') continue;
      const w = before.workers.find(({ id }) => id === entry.workerId);
      if (w !== undefined) this.#failed(w, before.policy, nowMs);
    }
  }

  /** The start interval, at least, lies between two attempts where there is no backoff. */
  #failed(w: WorkerState, policy: Policy, nowMs: number): void {
    const { backoffBaseMs, backoffMaxMs, startIntervalMs } = policy;
    const failures = (this.#slots.get(w.slot)?.failures ?? 0) + 1;
    const fullMs = Math.min(backoffBaseMs * 2 ** (failures - 1), backoffMaxMs);
    const backoff = { failures, notBeforeMs: nowMs + fullMs / 2, notAfterMs: nowMs + fullMs };
    if (backoffBaseMs === 0) {
      backoff.notBeforeMs = Math.max(nowMs, w.spawnedAtMs + startIntervalMs);
      backoff.notAfterMs = backoff.notBeforeMs;
    }
    this.#slots.set(w.slot, backoff);
  }

  /** A slot is empty only for the rate of spawns, or in backoff. */
  #unfilled(after: State, nowMs: number): string | null {
    if (after.phase !== 'running' || after.tokens < 1) return null;
    const { rollout, policy } = after;
    const candidates =
      rollout?.policy == null || nowMs < rollout.notBeforeMs ? 0 : slotsOf(after, rollout.policy);
    const rolling = rollout?.policy?.rollout === 'rolling' ? Math.min(rollout.window, candidates) : 0;
    const serving = rollout !== null && policy.generationPerSpawn ? 0 : after.desired;
    const active = new Set(after.workers.filter(isActive).map(place));
    for (let slot = 0; slot < Math.max(serving, candidates); slot++) {
      if (nowMs < (this.#slots.get(slot)?.notAfterMs ?? -Infinity)) continue;
      const old =
        slot >= rolling && slot < serving && !active.has(place({ slot, generation: after.generation }));
      const ofNew = slot < (rollout?.policy?.rollout === 'rolling' ? rolling : candidates);
      const young = ofNew && !active.has(place({ slot, generation: rollout?.generation ?? 0 }));
      if (old || young) return 'an empty slot was not filled';
    }
    return null;
  }

  #change(before: State, was: WorkerState, w: WorkerState, after: State, nowMs: number): string | null {
    if (ORDER.indexOf(w.phase) < ORDER.indexOf(was.phase)) return 'a worker went back to an earlier phase';
    if (w.phase === 'ready') return this.#ready(w, before, after, nowMs);
    if (w.phase === 'killed') {
      const inTime = after.stop?.immediate === true || this.#bookOf(w.id).killFromMs <= nowMs;
      return inTime ? null : 'KILL before the graceful timeout';
    }
    if (w.phase === 'draining') {
      this.#bookOf(w.id).killFromMs = nowMs + Math.min(graceOf(before), graceOf(after));
      const kept = w.leaving === 'rollout' && was.phase === 'ready' && w.retiring === null;
      if (kept && nowMs < after.committedAtMs + after.policy.killOldDelayMs)
        return 'an old worker was not kept';
    }
    return null;
  }

  /** Ages and hanging: marked in time, not before, and let go in time. */
  #retiring(was: WorkerState | undefined, w: WorkerState, after: State, nowMs: number): string | null {
    if (after.phase !== 'running') return null;
    const { hungAtMs, ageFromMs, ageToMs } = this.#bookOf(w.id);
    if (w.phase === 'ready') {
      if (nowMs >= ageToMs && w.retiring === null) return 'a worker is older than it may be';
      const marked = w.retiring === 'max-age' && was?.retiring === null;
      if (marked && nowMs < ageFromMs) return 'a worker is replaced before its age is up';
      if (marked) this.mustLeave.add(w.id);
      return nowMs < hungAtMs + HUNG_WAIT_MS ? null : 'a worker that hangs is kept';
    }
    if (was?.phase !== 'ready' || w.leaving !== 'hung') return null;
    const replaced = after.workers.some(
      (other) => other.phase === 'ready' && !isHung(other) && place(other) === place(w),
    );
    const free = replaced || after.policy.spare === 0 || nowMs >= hungAtMs + HUNG_WAIT_MS;
    return free ? null : 'a worker that hangs is told to leave before it is replaced';
  }

  #ready(w: WorkerState, before: State, after: State, nowMs: number): string | null {
    const candidate = before.rollout?.generation === w.generation;
    // Timers run out before a commit in the same step.
    const policy = candidate
      ? before.rollout?.policy
      : w.generation === before.generation
        ? before.policy
        : after.policy;
    if (policy == null) return 'a worker of no configuration is ready';
    if (policy.maxAgeMs > 0) {
      const book = this.#bookOf(w.id);
      book.ageToMs = nowMs + policy.maxAgeMs;
      book.ageFromMs = book.ageToMs - policy.maxAgeMs * MAX_AGE_JITTER;
    }
    const lacking = this.#lacking(w, policy, nowMs);
    if (lacking !== null || policy.ready === 'start' || w.generation === after.generation) return lacking;
    const serving = after.workers.find(
      (other) =>
        other.slot === w.slot &&
        other.generation === after.generation &&
        other.phase === 'ready' &&
        // In one step the other may have become ready after this one.
        before.workers.some(({ id, phase }) => id === other.id && phase === 'ready'),
    );
    const { listening } = this.#bookOf(w.id);
    const all = serving === undefined || serving.listening.every((key) => listening.has(key));
    return all ? null : 'ready on less than what its slot serves';
  }

  /** What a worker lacks for being ready under that policy. */
  #lacking({ id }: WorkerState, policy: Policy, nowMs: number): string | null {
    const book = this.#bookOf(id);
    if (policy.ready === 'start') {
      return nowMs >= book.spawnedAtMs + policy.startIntervalMs ? null : 'ready before the start interval';
    }
    if (book.spawnedAtMs > nowMs) return 'ready before the news of its spawn';
    if (!book.saidReady && (policy.ready === 'message' || book.listening.size === 0))
      return 'ready without a word';
    const all = policy.requiredKeys.every((key) => book.listening.has(key));
    return all ? null : 'ready without all that is bound';
  }

  #spawn(
    { slot, generation, workerId }: { slot: number; generation: number; workerId: number },
    after: State,
    nowMs: number,
  ): string | null {
    if (nowMs < (this.#slots.get(slot)?.notBeforeMs ?? -Infinity))
      return 'a spawn before the backoff was over';
    const active = after.workers.filter(isActive);
    const mates = active.filter((w) => w.slot === slot && w.generation === generation && w.id !== workerId);
    if (!active.some((w) => w.slot === slot && w.generation === generation && w.id !== workerId)) return null;
    const extra = active.length - new Set(active.map(place)).size;
    if (extra > Math.max(after.policy.spare, 1)) return 'more replacements than there is spare';
    const unreplaced = active.filter(
      (w) => isHung(w) && !active.some((other) => other.retiring === null && place(other) === place(w)),
    );
    const inTurn = mates.some(isHung) || extra + unreplaced.length <= Math.max(after.policy.spare, 1);
    return inTurn ? null : 'a worker that serves is replaced before one that hangs';
  }
}

const ORDER = ['starting', 'ready', 'draining', 'killed'];

const place = (at: { generation: number; slot: number }): number => at.generation * 4096 + at.slot;

/** What a worker was told, and the time it has for it, stand. */
function altered(was: WorkerState, w: WorkerState): string | null {
  if (isActive(w)) return null;
  return was.leaving === w.leaving && was.deadlineMs === w.deadlineMs
    ? null
    : 'a worker that leaves was given other terms';
}

const graceOf = (state: State): number => state.policy.gracefulTimeoutMs ?? Infinity;

/** A worker that is to leave hears of it, at once or with the news of its spawn. */
function untold(w: WorkerState, commands: readonly Command[]): string | null {
  if (w.pid === null || isActive(w) || (w.phase === 'draining' && w.leaving === 'self')) return null;
  const told = commands.some(
    (c) => c.type === 'signal' && c.workerId === w.id && (w.phase === 'draining' || c.signal === 'SIGKILL'),
  );
  return told ? null : 'a worker that is to leave was not told';
}
