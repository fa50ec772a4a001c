/** The end of a service. */
import type { Signal } from '../engine/engine';
import type { Draft } from './draft';
import { isActive, type State } from './state';

interface StopRequest {
  /** the signal to the manager that asks for it; null: a request of another kind */
  cause: Signal | null;
  /** told to the workers; default: the policy's stopSignal */
  signal?: Signal;
  immediate?: boolean;
  /** between one worker's signal and the next */
  intervalMs?: number;
  code?: number;
}

/** Stops, or makes a stop that is under way immediate. The exit code of the first request stays. */
export function beginStop(d: Draft, request: StopRequest): void {
  const immediate = request.immediate === true;
  if (d.s.stop !== null) {
    if (immediate) d.s.stop = { ...d.s.stop, immediate };
    return;
  }
  if (d.s.rollout !== null) {
    const { generation } = d.s.rollout;
    d.commands.push({ type: 'rolloutEnded', generation, ok: false, reason: 'the manager is stopping' });
    d.s.rollout = null;
  }
  d.s.phase = 'stopping';
  d.s.reloadQueued = false;
  d.s.stagger = null;
  // Whether one that is starting becomes ready matters no more.
  for (const w of d.workers.filter(({ phase }) => phase === 'starting')) d.patch(w, { deadlineMs: null });
  const signal = request.signal ?? d.s.policy.stopSignal;
  d.s.stop = {
    code: request.code ?? 0,
    immediate,
    signal,
    intervalMs: request.intervalMs ?? 0,
    nextAtMs: d.now,
  };
  d.commands.push({ type: 'quiesceListeners' });
  d.log('info', { what: 'stopping', signal: request.cause, immediate, workers: d.workers.length });
  if (d.s.policy.drainAgain) {
    for (const w of d.workers) if (w.phase === 'draining') d.signal(w, signal);
  }
  d.statusChanged();
}

/** A second request to stop. */
export function forceStop(d: Draft, code: number): void {
  const { stop } = d.s;
  if (stop === null || stop.immediate) return;
  if (d.s.policy.secondStop === 'forward') {
    for (const w of d.workers) d.signal(w, stop.signal);
    return;
  }
  d.s.stop = { ...stop, immediate: true, code: stop.code || code };
}

/** The first start came to nothing: everything ends at once. */
export function startFailed(d: Draft, reason: string, code = 3): void {
  d.log('error', { what: 'start-failed', reason });
  beginStop(d, { cause: null, immediate: true, code });
}

/** Tells the workers to finish, all at once or one an interval, and exits when the last has been reaped. */
export function reconcileStop(d: Draft, stop: NonNullable<State['stop']>): void {
  let nextAtMs = stop.nextAtMs;
  for (const w of d.workers.slice()) {
    if (stop.immediate) {
      if (w.phase !== 'killed') d.kill(w, 'stop');
    } else if (isActive(w) && nextAtMs <= d.now) {
      d.drain(w, 'stop', stop.signal);
      if (stop.intervalMs > 0) nextAtMs = d.now + stop.intervalMs;
    }
  }
  d.s.stop = { ...stop, nextAtMs };
  if (d.workers.some(isActive)) d.later(nextAtMs);
  if (d.workers.length > 0) return;
  d.exit(stop.code);
}
