/**
 * What must hold after every step, whatever happened. Asserted in production, where a violation is logged and the
 * service goes on, and in the simulator, where it fails the run.
 */
import type { Command } from './command';
import type { Event } from './event';
import { MAX_WORKERS } from './policy';
import { leavesPool, maxLeaving } from './retirement';
import { isActive, isServing, type State, type WorkerState } from './state';

/** The violations of one step; empty when all is well. `nowMs` as for step(). */
export function violations(
  before: State,
  event: Event,
  after: State,
  commands: readonly Command[],
  nowMs = Number.NEGATIVE_INFINITY,
): string[] {
  const found: string[] = [];
  const expect: Expect = (holds, what, about) => {
    if (!holds) found.push(about === undefined ? what : `${what} (${about})`);
  };
  checkNumbers(before, after, expect);
  checkLastReady(before, event, after, expect);
  checkLeaving(before, event, after, expect);
  checkCrowd(after, expect);
  checkRetirement(before, after, expect);
  checkTimers(after, nowMs, expect);
  checkCommands(after, commands, expect);
  return found;
}

/** about: the worker or slot in question */
type Expect = (holds: boolean, what: string, about?: number) => void;

function checkNumbers(before: State, after: State, expect: Expect): void {
  const { minWorkers, maxWorkers } = after.policy;
  expect(minWorkers >= 1 && maxWorkers <= MAX_WORKERS, 'the bounds of the number of slots are out of range');
  for (const slots of [after.desired, after.elastic.floor])
    expect(slots >= minWorkers && slots <= maxWorkers, 'the number of slots is out of range');
  expect(after.tokens >= 0, 'spawns exceed their rate');
  expect(after.generation >= before.generation, 'the generation that serves went back');
  expect(after.generation <= after.lastGeneration, 'a generation serves that was never begun');
  expect(committedWhole(before, after), 'a generation was committed before it was ready');
  expect(after.phase !== 'ended' || after.workers.length === 0, 'the manager ended before its workers');
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

const leftByItself = (w: WorkerState, event: Event): boolean =>
  event.type === 'draining' && event.workerId === w.id;

/** The last worker that serves (one that hangs does not) is not told to leave. One that leaves or dies by itself is no fault of ours. */
function checkLastReady(before: State, event: Event, after: State, expect: Expect): void {
  if (after.phase !== 'running' || after.workers.some(isServing)) return;
  for (const w of before.workers) {
    if (!isServing(w) || leftByItself(w, event)) continue;
    const told = after.workers.some(
      ({ id, phase, retiring }) => id === w.id && phase !== 'ready' && retiring !== 'hung',
    );
    expect(!told, 'the last ready worker was told to leave', w.id);
  }
}

/** A ready worker that is told to leave has somebody who serves in its place, or no place any more. */
function checkLeaving(before: State, event: Event, after: State, expect: Expect): void {
  if (after.phase !== 'running') return;
  let at = 0;
  for (const w of after.workers) {
    // Both lists are in the order of the ids.
    while ((before.workers[at]?.id ?? w.id) < w.id) at++;
    const was = before.workers[at];
    if (was?.id !== w.id || was.phase !== 'ready' || w.phase === 'ready' || leftByItself(w, event)) continue;
    const fallsAway = w.slot >= after.desired || (w.leaving === 'scale' && w.generation !== after.generation);
    // With no spare a worker that retires is told first and replaced afterwards. One that hangs has no place to fill.
    const unspared = w.leaving === 'retire' && after.policy.spare === 0;
    const covered = after.workers.some((other) => other.slot === w.slot && isServing(other));
    const needed = !fallsAway && !unspared && w.leaving !== 'hung';
    expect(!needed || covered, 'a worker was told to leave with nobody in its place', w.id);
    const untouched = w.leaving !== 'rollout' || w.generation !== after.generation;
    expect(
      untouched || inWindow(after, w.slot),
      'a worker that serves made way for a generation not committed',
      w.id,
    );
  }
}

function inWindow({ rollout }: State, slot: number): boolean {
  return rollout?.policy?.rollout === 'rolling' && slot < rollout.window;
}

/**
 * One generation at most starts beside the one that serves, and a slot holds a worker and its replacement of each of
 * the two at most, and three that are to go.
 */
function checkCrowd(after: State, expect: Expect): void {
  const counts = new Map<number, number>();
  const candidate = after.rollout?.generation;
  let starting: number | null = null;
  let lastId = 0;
  for (const w of after.workers) {
    expect(w.id > lastId, 'a worker id is used twice', w.id);
    lastId = w.id;
    if (!isActive(w)) continue;
    expect(w.phase !== 'ready' || w.pid !== null, 'a worker is ready that has no process', w.id);
    if (w.phase === 'starting' && w.generation !== after.generation) {
      expect(
        starting === null || starting === w.generation,
        'two generations start beside the one that serves',
      );
      starting = w.generation;
    }
    const current = w.generation === after.generation ? 0 : w.generation === candidate ? 1 : 2;
    const place = w.slot * 3 + current;
    const count = (counts.get(place) ?? 0) + 1;
    expect(count <= (current === 2 ? 3 : 2), 'a slot holds more workers than it may', w.slot);
    counts.set(place, count);
  }
}

/** Replacements take up no more than the spare, and no more than a share of the pool leaves for them at once. */
function checkRetirement(before: State, after: State, expect: Expect): void {
  if (after.phase !== 'running') return;
  const spare = Math.max(1, after.policy.spare);
  expect(extra(after) <= Math.max(extra(before), spare), 'more replacements than there is spare');
  const told = after.workers.some(
    (w) =>
      w.leaving === 'retire' && before.workers.some(({ id, leaving }) => id === w.id && leaving === null),
  );
  if (!told) return;
  const leaving = after.workers.filter(leavesPool).length;
  expect(leaving <= maxLeaving(after.desired), 'too much of the pool leaves at once');
}

/** Active workers beyond one a slot and generation. */
function extra({ workers }: State): number {
  const active = workers.filter(isActive);
  return active.length - new Set(active.map((w) => w.slot * 2 ** 32 + w.generation)).size;
}

/** Every deadline has a timer, and no timer asks for what was due in this step. */
function checkTimers(after: State, nowMs: number, expect: Expect): void {
  if (after.phase === 'ended') return;
  const wakeAtMs = after.wakeAtMs ?? Number.POSITIVE_INFINITY;
  expect(wakeAtMs > nowMs, 'a step asks to be woken at once');
  for (const w of after.workers) {
    expect(w.deadlineMs === null || w.deadlineMs >= wakeAtMs, 'a deadline has no timer', w.id);
  }
}

function checkCommands(after: State, commands: readonly Command[], expect: Expect): void {
  for (const command of commands) {
    if (command.type === 'signal') {
      const target = after.workers.find(({ id }) => id === command.workerId);
      expect(
        target != null && target.pid !== null,
        'a signal after the reap or before the spawn',
        command.workerId,
      );
    } else if (command.type === 'spawn') {
      const spawned = after.workers.find(({ id }) => id === command.workerId);
      const { generation } = command;
      expect(after.phase === 'running', 'a spawn during a stop');
      expect(
        spawned?.phase === 'starting',
        'a spawn of no worker, or of one that leaves at once',
        command.workerId,
      );
      expect(
        generation === after.generation || generation === after.rollout?.generation,
        'a spawn for a generation that neither serves nor begins',
        command.workerId,
      );
    } else if (command.type === 'exit') {
      expect(after.phase === 'ended', 'an exit with workers left');
    }
  }
}
