/** What each event must lead to in the step that takes it, beside what `Ledger` and `Timing` keep books of. */
import type { Command } from '../../src/core/command';
import type { ControlRequest, Event } from '../../src/core/event';
import { INTERRUPT_WINDOW_MS, type SignalAction } from '../../src/core/policy';
import { isActive, type State, type WorkerState } from '../../src/core/state';
import type { Signal } from '../../src/engine/engine';

interface Step {
  before: State;
  after: State;
  commands: readonly Command[];
  nowMs: number;
}

export class Answers {
  #interruptMs = Number.NEGATIVE_INFINITY;
  readonly #listening = new Map<number, Set<string>>();

  /** Notes a step; what is wrong with it. */
  check(event: Event, step: Step): string | null {
    if (event.type === 'tick') return hurried(step);
    if (event.type === 'signal') {
      const action = step.before.policy.signals[event.signal] ?? { do: 'ignore' };
      return (
        this.#action(action, event.signal, step, event.terminalGone === true) ?? maintained(action.do, step)
      );
    }
    if (event.type === 'control')
      return controlled(event.request, step) ?? maintained(event.request.do, step);
    return this.#worker(event, step) ?? maintained(null, step) ?? hurried(step);
  }

  #action(action: SignalAction, signal: Signal, step: Step, terminalGone: boolean): string | null {
    if (step.before.phase === 'ended') return null;
    switch (action.do) {
      case 'forward':
        return forwarded(action.signal, action.intervalMs ?? 0, step) ?? hurried(step);
      case 'hangup':
        return terminalGone ? stopped({ do: 'stop' }, signal, step) : hurried(step);
      case 'interrupt': {
        if (step.nowMs - this.#interruptMs < INTERRUPT_WINDOW_MS) return hurried(step);
        this.#interruptMs = step.nowMs;
        return stopped(action, signal, step);
      }
      case 'stop':
      case 'stopNow':
        return stopped(action, signal, step);
      default:
        return hurried(step);
    }
  }

  #worker(event: Event, step: Step): string | null {
    if (!('workerId' in event) || event.type === 'listenFailed') return null;
    const { workerId } = event;
    const was = step.before.workers.find(({ id }) => id === workerId);
    const w = step.after.workers.find(({ id }) => id === workerId);
    if (was === undefined) return w === undefined ? null : 'a worker came back';
    switch (event.type) {
      case 'exited':
        this.#listening.delete(workerId);
        return ended(was, event.status, step);
      case 'spawnFailed':
        return said(step, 'spawn-failed') ? null : 'a failed spawn was not logged';
      case 'spawned':
        return said(step, 'worker-spawned') ? null : 'a spawn was not logged';
      case 'listening':
      case 'unlistening':
        return this.#listens(event, w);
      case 'stopped':
      case 'continued':
        if (!said(step, `worker-${event.type}`)) return `it was not logged that a worker was ${event.type}`;
        return w?.stopped === (event.type === 'stopped') ? null : `a worker is not ${event.type}`;
      case 'draining':
        return drains(was, w, step);
      default:
        return null;
    }
  }

  #listens(
    { type, workerId, key }: Extract<Event, { key: string }>,
    w: WorkerState | undefined,
  ): string | null {
    const keys = this.#listening.get(workerId) ?? new Set<string>();
    this.#listening.set(workerId, keys);
    if (type === 'listening') keys.add(key);
    else keys.delete(key);
    const same = w !== undefined && w.listening.length === keys.size && w.listening.every((k) => keys.has(k));
    return same ? null : 'what a worker listens on is wrong';
  }
}

function ended(was: WorkerState, status: number, { commands }: Step): string | null {
  const right = commands.some(
    (c) =>
      c.type === 'log' &&
      c.entry.what === 'worker-exited' &&
      c.entry.workerId === was.id &&
      c.entry.status === status &&
      c.entry.expected === (was.leaving !== null) &&
      c.entry.wasReady === (was.readyAtMs !== null),
  );
  return right ? null : 'an exit was not logged as it was';
}

/** A worker that leaves by itself is counted out, and has the graceful timeout for it. */
function drains(was: WorkerState, w: WorkerState | undefined, { before, after, nowMs }: Step): string | null {
  if (w === undefined || !isActive(was)) return null;
  if (isActive(w)) return 'a worker that leaves by itself is counted on';
  const graceMs = before.policy.gracefulTimeoutMs;
  const inTime = w.deadlineMs === (graceMs === null ? null : nowMs + graceMs);
  return inTime || after.phase !== 'running'
    ? null
    : 'a worker that leaves by itself has another time for it';
}

function maintained(what: string | null, { before, commands }: Step): string | null {
  for (const [wanted, command] of [
    ['reopenLogs', 'reopenLogs'],
    ['upgrade', 'reexec'],
  ]) {
    const expected = what === wanted && (wanted === 'reopenLogs' || before.phase === 'running');
    const given = commands.some(({ type }) => type === command);
    if (before.phase !== 'ended' && expected !== given)
      return `${what ?? 'nothing'} was asked for, and ${command} is ${given}`;
  }
  return null;
}

function controlled(request: ControlRequest, step: Step): string | null {
  if (request.do !== 'stop') return hurried(step);
  return step.before.phase === 'ended' || stops(step.after, !request.graceful)
    ? null
    : 'a stop was not obeyed';
}

const stops = (after: State, immediate: boolean): boolean =>
  after.stop !== null && (after.stop.immediate || !immediate);

/** A first request tells the workers; a second one, QUIT apart, makes an end of it or is passed on. */
function stopped(action: SignalAction, signal: Signal, step: Step): string | null {
  const { before, after, commands } = step;
  if (action.do === 'stopNow') return stops(after, true) ? null : 'an immediate stop was not obeyed';
  const told = action.do === 'stop' && action.signal !== undefined ? action.signal : before.policy.stopSignal;
  if (before.stop === null) {
    const all = action.do === 'stop' && (action.intervalMs ?? 0) > 0 ? 1 : before.workers.length;
    const left = before.workers.filter(isActive).slice(0, all);
    return left.every((w) => w.pid === null || isTold(commands, w, told))
      ? null
      : 'a worker was not told of the stop';
  }
  if (before.stop.immediate) return null;
  if (signal === 'SIGQUIT' && action.do === 'stop') return hurried(step);
  if (before.policy.secondStop === 'kill') return stops(after, true) ? null : 'a second stop was not obeyed';
  const { signal: again } = before.stop;
  const all = before.workers.every((w) => w.pid === null || isTold(commands, w, again));
  return (all ? null : 'a second stop was not passed on') ?? hurried(step);
}

/** Told that signal, or killed. */
function isTold(commands: readonly Command[], w: WorkerState, signal: Signal): boolean {
  return commands.some(
    (c) => c.type === 'signal' && c.workerId === w.id && (c.signal === signal || c.signal === 'SIGKILL'),
  );
}

function forwarded(signal: Signal, intervalMs: number, { before, after, commands }: Step): string | null {
  const [first] = before.workers;
  if (intervalMs > 0) {
    if (before.phase !== 'running' || first === undefined || after.phase !== 'running') return null;
    const next = after.workers.filter((w) => before.workers.some(({ id }) => id === w.id))[0];
    const begun = next === undefined || next.pid === null || isTold(commands, next, signal);
    return begun ? null : 'a signal that goes round did not begin';
  }
  const all = before.workers.every((w) => w.pid === null || isTold(commands, w, signal));
  return all ? null : 'a signal was not passed on';
}

/** A stop that waits goes on waiting unless somebody asks for more. */
function hurried({ before, after }: Step): string | null {
  return before.stop?.immediate === false && after.stop?.immediate === true
    ? 'a stop lost its patience'
    : null;
}

const said = ({ commands }: Step, what: string): boolean =>
  commands.some((c) => c.type === 'log' && c.entry.what === what);
