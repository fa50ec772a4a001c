/**
 * What must hold after every step, whatever happened. Asserted in production, where a violation is logged and the
 * service goes on, and in the simulator, where it fails the run.
 */
import type { Command } from './command';
import type { Event } from './event';
import { MAX_WORKERS } from './policy';
import { isActive, type State, type WorkerState } from './state';

/** The violations of one step; empty when all is well. `nowMs` as for step(). */
export function violations(
  before: State,
  event: Event,
  after: State,
  commands: readonly Command[],
  nowMs = Number.NEGATIVE_INFINITY,
): string[] {
  const found: string[] = [];
  const expect = (holds: boolean, what: string): void => {
    if (!holds) found.push(what);
  };
  expect(after.desired >= 1 && after.desired <= MAX_WORKERS, 'the number of slots is out of range');
  expect(after.tokens >= 0, 'spawns exceed their rate');
  expect(after.generation >= before.generation, 'the generation that serves went back');
  expect(after.generation <= after.lastGeneration, 'a generation serves that was never begun');
  expect(committedWhole(before, after), 'a generation was committed before it was ready');
  expect(after.phase !== 'ended' || after.workers.length === 0, 'the manager ended before its workers');
  expect(idsAreUnique(after), 'a worker id is used twice');
  expect(candidates(after) <= 1, 'more than one generation is starting beside the one that serves');
  expect(crowdedSlot(after) === null, `slot ${crowdedSlot(after)} holds more workers than it may`);
  expect(lastReadyKept(before, event, after), 'the last ready worker was told to leave');
  checkLeaving(before, event, after, expect);
  checkTimers(after, nowMs, expect);
  checkCommands(after, commands, expect);
  return found;
}

type Expect = (holds: boolean, what: string) => void;

/** Did this step tell the last ready worker to leave? One that leaves or dies by itself is no fault of ours. */
function lastReadyKept(before: State, event: Event, after: State): boolean {
  if (after.phase !== 'running') return true;
  const isReady = (w: WorkerState): boolean => w.phase === 'ready';
  if (after.workers.some(isReady)) return true;
  return !before.workers.some(
    (w) => w.phase === 'ready' && after.workers.some((now) => now.id === w.id) && !leftByItself(w, event),
  );
}

const leftByItself = (w: WorkerState, event: Event): boolean =>
  event.type === 'draining' && event.workerId === w.id;

/** A ready worker that is told to leave has somebody who serves in its place, or no place any more. */
function checkLeaving(before: State, event: Event, after: State, expect: Expect): void {
  if (after.phase !== 'running') return;
  for (const w of after.workers) {
    if (w.phase === 'ready' || w.readyAtMs === null || leftByItself(w, event)) continue;
    if (!before.workers.some((was) => was.id === w.id && was.phase === 'ready')) continue;
    const fallsAway = w.slot >= after.desired || (w.leaving === 'scale' && w.generation !== after.generation);
    // With no spare a worker that retires is told first and replaced afterwards.
    const unspared = (w.leaving === 'retire' || w.leaving === 'hung') && after.policy.spare === 0;
    const covered = after.workers.some((other) => other.slot === w.slot && other.phase === 'ready');
    expect(fallsAway || unspared || covered, `worker ${w.id} was told to leave with nobody in its place`);
    expect(
      w.leaving !== 'rollout' || w.generation !== after.generation || inWindow(after, w.slot),
      'the generation that serves was touched by one that is not committed',
    );
  }
}

function inWindow({ rollout }: State, slot: number): boolean {
  return rollout?.policy?.rollout === 'rolling' && slot < rollout.window;
}

/** Every deadline has a timer, and no timer asks for what was due in this step. */
function checkTimers(after: State, nowMs: number, expect: Expect): void {
  if (after.phase === 'ended') return;
  const wakeAtMs = after.wakeAtMs ?? Number.POSITIVE_INFINITY;
  expect(wakeAtMs > nowMs, 'a step asks to be woken at once');
  for (const w of after.workers) {
    expect(w.deadlineMs === null || w.deadlineMs >= wakeAtMs, `the deadline of worker ${w.id} has no timer`);
  }
}

function checkCommands(after: State, commands: readonly Command[], expect: Expect): void {
  for (const command of commands) {
    if (command.type === 'signal') {
      const target = after.workers.find(({ id }) => id === command.workerId);
      expect(target != null && target.pid !== null, 'a signal after the reap or before the spawn');
    } else if (command.type === 'spawn') {
      const spawned = after.workers.find(({ id }) => id === command.workerId);
      const { generation } = command;
      expect(after.phase === 'running', 'a spawn during a stop');
      expect(spawned?.phase === 'starting', 'a spawn of no worker, or of one that leaves at once');
      expect(
        generation === after.generation || generation === after.rollout?.generation,
        'a spawn for a generation that neither serves nor begins',
      );
    } else if (command.type === 'exit') {
      expect(after.phase === 'ended', 'an exit with workers left');
    }
  }
}

function idsAreUnique(state: State): boolean {
  const { workers } = state;
  // In the order of their ids, as they were spawned.
  return workers.every((w, i) => i === 0 || (workers[i - 1] as WorkerState).id < w.id);
}

/** How many generations have workers starting, other than the one that serves. */
function candidates(state: State): number {
  const starting = new Set<number>();
  for (const w of state.workers) {
    if (w.phase === 'starting' && w.generation !== state.generation) starting.add(w.generation);
  }
  return starting.size;
}

/** A slot with more than a worker and its replacement of one generation, or more than one that should have gone. */
function crowdedSlot(state: State): number | null {
  const counts = new Map<number, number>();
  for (const w of state.workers) {
    if (!isActive(w)) continue;
    const current = w.generation === state.generation || w.generation === state.rollout?.generation;
    const place = current ? w.generation * MAX_WORKERS + w.slot : -1 - w.slot;
    const count = (counts.get(place) ?? 0) + 1;
    if (count > 2) return w.slot;
    counts.set(place, count);
  }
  return null;
}

/** A commit found the share of slots that the policy asks for filled with ready workers. */
function committedWhole(before: State, after: State): boolean {
  if (after.generation === before.generation) return true;
  if (before.rollout?.generation !== after.generation) return after.policy.generationPerSpawn;
  const ready = new Set<number>();
  for (const w of after.workers) {
    // A worker beyond the slots may have been told to go in the step that committed.
    if (w.generation === after.generation && w.readyAtMs !== null) ready.add(w.slot);
  }
  const share = after.policy.rollout === 'surge' ? after.policy.rolloutReady : 1;
  return ready.size >= Math.min(Math.max(1, Math.ceil(share * after.desired)), after.desired);
}
