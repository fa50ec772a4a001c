/**
 * What must hold after every step, whatever happened. Asserted in production, where a violation is logged and the
 * service goes on, and in the simulator, where it fails the run.
 */
import type { Command } from './command';
import type { Event } from './event';
import { MAX_WORKERS } from './policy';
import { isActive, type State, type WorkerState } from './state';

/** The violations of one step; empty when all is well. */
export function violations(
  before: State,
  event: Event,
  after: State,
  commands: readonly Command[],
): string[] {
  const found: string[] = [];
  const expect = (holds: boolean, what: string): void => {
    if (!holds) found.push(what);
  };
  const byId = new Map(after.workers.map((w) => [w.id, w]));

  expect(byId.size === after.workers.length, 'a worker id is used twice');
  expect(lastReadyKept(before, event, after), 'the last ready worker was told to leave');
  expect(candidates(after).size <= 1, 'more than one generation is starting beside the one that serves');
  expect(after.desired >= 1 && after.desired <= MAX_WORKERS, 'the number of slots is out of range');
  expect(after.tokens >= 0, 'spawns exceed their rate');
  expect(crowdedSlot(after) === null, `slot ${crowdedSlot(after)} holds more workers than it may`);
  expect(after.generation >= before.generation, 'the generation that serves went back');
  expect(after.generation <= after.lastGeneration, 'a generation serves that was never begun');
  expect(
    after.generation === before.generation || after.policy.generationPerSpawn || servesEnough(after),
    'a generation was committed before it was ready',
  );
  expect(after.phase !== 'ended' || after.workers.length === 0, 'the manager ended before its workers');
  for (const command of commands) {
    if (command.type === 'signal') {
      const target = byId.get(command.workerId);
      expect(target !== undefined && target.pid !== null, 'a signal after the reap or before the spawn');
    } else if (command.type === 'spawn') {
      expect(after.phase === 'running', 'a spawn during a stop');
      expect(byId.get(command.workerId)?.phase === 'starting', 'a spawn of no worker');
    } else if (command.type === 'exit') {
      expect(after.phase === 'ended' && after.workers.length === 0, 'an exit with workers left');
    }
  }
  return found;
}

/** Did this step tell the last ready worker to leave? One that leaves or dies by itself is no fault of ours. */
function lastReadyKept(before: State, event: Event, after: State): boolean {
  if (after.phase !== 'running') return true;
  const isReady = (w: WorkerState): boolean => w.phase === 'ready';
  if (after.workers.some(isReady)) return true;
  return !before.workers.some((w) => {
    if (w.phase !== 'ready') return false;
    const now = after.workers.find((other) => other.id === w.id);
    return (
      now !== undefined && now.phase !== 'ready' && !(event.type === 'draining' && event.workerId === w.id)
    );
  });
}

/** Generations with workers starting, other than the one that serves. */
function candidates(state: State): Set<number> {
  const starting = new Set<number>();
  for (const w of state.workers) {
    if (w.phase === 'starting' && w.generation !== state.generation) starting.add(w.generation);
  }
  return starting;
}

/** A slot with more than a worker and its replacement of one generation. */
function crowdedSlot(state: State): number | null {
  const counts = new Map<string, number>();
  for (const w of state.workers) {
    if (!isActive(w)) continue;
    const place = `${w.slot}/${w.generation}`;
    const count = (counts.get(place) ?? 0) + 1;
    if (count > 2) return w.slot;
    counts.set(place, count);
  }
  return null;
}

/** The share of slots that the policy asks for is filled with ready workers of the generation that serves. */
function servesEnough(state: State): boolean {
  const ready = new Set<number>();
  for (const w of state.workers) {
    // A worker beyond the slots may have been told to go in the step that committed.
    if (w.generation === state.generation && w.readyAtMs !== null) ready.add(w.slot);
  }
  const share = state.policy.rollout === 'surge' ? state.policy.rolloutReady : 1;
  return ready.size >= Math.min(Math.max(1, Math.ceil(share * state.desired)), state.desired);
}
