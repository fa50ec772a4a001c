/**
 * The manager as a function: a state, what happened and when, in; the next state and what to do, out. No clock, no
 * randomness but the state's seed, no I/O. `nowMs` is monotonic; the state's `wakeAtMs` is the only timer.
 */
import type { Signal } from '../engine/engine';
import type { Command } from './command';
import { Draft } from './draft';
import type { ControlRequest, Event } from './event';
import { onLoad, scale, scaleBy } from './elastic';
import { INTERRUPT_WINDOW_MS, type SignalAction } from './policy';
import { askAllAgain, becomeReady, becomeReadyIf, missingListeners, notListening } from './ready';
import { reconcile } from './reconcile';
import { retire } from './retirement';
import { beginReload, configFailed, configLoaded, failRollout, tellEnded } from './rollout';
import { isActive, type State, type WorkerState } from './state';
import { beginStop, forceStop, startFailed } from './stop';

export interface StepResult {
  state: State;
  commands: readonly Command[];
}

export function step(state: State, event: Event, nowMs: number): StepResult {
  if (state.phase === 'ended') return { state, commands: [] };
  const d = new Draft(state, nowMs);
  handle(d, event);
  expire(d);
  reconcile(d);
  tellEnded(d, state);
  return d.finish();
}

function handle(d: Draft, event: Event): void {
  switch (event.type) {
    case 'tick':
      return;
    case 'signal':
      return onSignal(d, event.signal, event.terminalGone === true);
    case 'control':
      return onControl(d, event.request);
    case 'configLoaded':
      return configLoaded(d, event.generation, event.policy);
    case 'configFailed':
      return configFailed(d, event.generation, event.reason);
    case 'load':
      return onLoad(d, event.idle, event.busy);
    case 'listenFailed':
      return onListenFailed(d, event.address, event.code);
    default: {
      // What comes from or about a worker that has been reaped is late and means nothing any more.
      const w = d.find(event.workerId);
      if (w) onWorker(d, w, event);
    }
  }
}

type WorkerEvent = Extract<Event, { workerId: number }>;

function onWorker(d: Draft, w: WorkerState, event: WorkerEvent): void {
  switch (event.type) {
    case 'spawned':
      return onSpawned(d, w, event.pid);
    case 'spawnFailed':
      return onSpawnFailed(d, w, event);
    case 'exited':
      return onExited(d, w, event.status, event.lastWords);
    case 'listening':
      if (w.listening.includes(event.key)) return;
      return becomeReadyIf(d, d.patch(w, { listening: [...w.listening, event.key] }));
    case 'unlistening':
      d.patch(w, { listening: w.listening.filter((key) => key !== event.key) });
      return askAllAgain(d);
    case 'ready':
      return becomeReadyIf(d, d.patch(w, { saidReady: true }));
    case 'draining':
      return onSelfDraining(d, w);
    case 'retire':
      return retire(d, w, event.reason);
    case 'hung':
      return retire(d, w, 'hung');
    case 'stopped':
    case 'continued': {
      d.patch(w, { stopped: event.type === 'stopped' });
      d.log('warn', { what: `worker-${event.type}`, workerId: w.id, slot: w.slot, pid: w.pid });
      return;
    }
  }
}

// --- workers ---------------------------------------------------------------------------------------------------

function onSpawned(d: Draft, w: WorkerState, pid: number): void {
  const policy = d.policyOf(w.generation);
  const waits = w.phase === 'starting' && policy.ready === 'start' && !d.isOver(w);
  const deadlineMs = waits ? d.now + policy.startIntervalMs : w.deadlineMs;
  const spawned = d.patch(w, { pid, deadlineMs });
  const { id: workerId, slot, generation } = spawned;
  d.log('debug', { what: 'worker-spawned', workerId, slot, generation, pid });
  d.statusChanged();
  // Told to leave while its spawn was under way: it hears of it now.
  if (spawned.phase === 'killed') d.signal(spawned, 'SIGKILL');
  else if (spawned.phase === 'draining') d.signal(spawned, d.s.stop?.signal ?? d.s.policy.drainSignal);
  else becomeReadyIf(d, spawned);
}

function onSpawnFailed(
  d: Draft,
  w: WorkerState,
  failure: { code: string; step: string; transient: boolean; reason?: string },
): void {
  const { code, step: syscall, transient } = failure;
  const { slot, generation } = w;
  d.remove(w);
  const rollout = d.rolloutOf(w);
  const fatal = !transient && (rollout !== null || exits(d));
  const retryInMs = fatal || d.s.phase !== 'running' ? null : delayAfterFailure(d, w);
  d.log('error', {
    what: 'spawn-failed',
    slot,
    generation,
    code,
    step: syscall,
    reason: failure.reason ?? null,
    retryInMs,
  });
  if (!fatal || d.s.phase !== 'running') return;
  const reason = failure.reason ?? `cannot start a worker: ${syscall} failed with ${code}`;
  if (rollout !== null) failRollout(d, rollout, reason, w.spawnedAtMs);
  else startFailed(d, reason);
}

/** Whether a worker that fails now ends the manager. */
const exits = (d: Draft): boolean => !d.s.everReady && d.s.policy.firstFailureExits;

/** Counts a failure before ready and returns how long the slot waits. */
function delayAfterFailure(d: Draft, w: WorkerState): number {
  const { backoffBaseMs, backoffMaxMs, startIntervalMs } = d.s.policy;
  const failures = d.slot(w.slot).failures + 1;
  let delayMs = Math.max(0, w.spawnedAtMs + startIntervalMs - d.now);
  if (backoffBaseMs > 0) {
    // The exponent is capped so that the product stays finite.
    const full = Math.min(backoffBaseMs * 2 ** Math.min(failures - 1, 30), backoffMaxMs);
    delayMs = full * (1 - d.random() / 2);
  }
  d.setSlot(w.slot, { failures, notBeforeMs: d.now + delayMs });
  return delayMs;
}

function onExited(d: Draft, w: WorkerState, status: number, lastWords: string | null): void {
  d.remove(w);
  const { id: workerId, slot, generation, pid } = w;
  const expected = w.leaving !== null;
  const wasReady = w.readyAtMs !== null;
  d.log(expected ? 'info' : 'warn', {
    what: 'worker-exited',
    workerId,
    slot,
    generation,
    pid,
    status,
    expected,
    wasReady,
    lastWords,
  });
  if (d.s.phase === 'stopping') return;
  const asked = w.leaving !== null && w.leaving !== 'self';
  const rollout = d.rolloutOf(w);
  if (!asked && rollout !== null) {
    failRollout(d, rollout, endedReason(w, status, lastWords), w.spawnedAtMs);
  } else if (!asked && !wasReady) {
    failedBeforeReady(d, w, endedReason(w, status, lastWords));
  }
}

function endedReason(w: WorkerState, status: number, lastWords: string | null): string {
  const how =
    (status & 0x7f) === 0 ? `exited with code ${status >> 8}` : `was killed by signal ${status & 0x7f}`;
  const when = w.readyAtMs === null ? 'before it was ready' : 'before the generation was';
  return `worker ${w.pid ?? '?'} ${how} ${when}${lastWords ? `: ${lastWords}` : ''}`;
}

function failedBeforeReady(d: Draft, w: WorkerState, reason: string): void {
  if (exits(d)) {
    startFailed(d, reason);
    return;
  }
  const delayMs = delayAfterFailure(d, w);
  d.log('warn', { what: 'backoff', slot: w.slot, failures: d.slot(w.slot).failures, delayMs });
}

function onSelfDraining(d: Draft, w: WorkerState): void {
  if (!isActive(w)) return;
  const grace = d.s.policy.gracefulTimeoutMs;
  d.patch(w, { phase: 'draining', leaving: 'self', deadlineMs: grace === null ? null : d.now + grace });
  d.statusChanged();
}

/** Timers of workers that have run out. */
function expire(d: Draft): void {
  for (const w of d.workers.slice()) {
    if (w.deadlineMs === null || w.deadlineMs > d.now) continue;
    // An earlier one in this pass may have failed the start, and all were told to leave.
    const current = d.find(w.id);
    if (current?.deadlineMs == null) continue;
    if (current.phase === 'draining') d.kill(current, 'stop');
    // Its rollout has just failed: it is told to leave.
    else if (d.isOver(current)) continue;
    else if (d.policyOf(current.generation).ready === 'start') becomeReady(d, current);
    else onReadyTimeout(d, current, Math.round(current.deadlineMs - current.spawnedAtMs));
  }
}

function onReadyTimeout(d: Draft, w: WorkerState, timeoutMs: number): void {
  const { id: workerId, slot, generation, pid } = w;
  const missing = missingListeners(d, w);
  const listening = [...w.listening];
  d.log('error', { what: 'ready-timeout', workerId, slot, generation, pid, timeoutMs, missing, listening });
  const what = missing.length > 0 ? notListening(missing, listening) : 'it did not become ready';
  const reason = `worker ${pid ?? '?'} passed the ready timeout of ${timeoutMs} ms: ${what}`;
  const rollout = d.rolloutOf(w);
  if (rollout !== null) {
    failRollout(d, rollout, reason, w.spawnedAtMs);
    return;
  }
  failedBeforeReady(d, w, reason);
  const still = d.find(workerId);
  if (d.s.phase === 'running' && still && isActive(still)) d.drain(still, 'ready-timeout');
}

// --- requests from outside -----------------------------------------------------------------------------------------

function onSignal(d: Draft, signal: Signal, terminalGone: boolean): void {
  const action = d.s.policy.signals[signal] ?? { do: 'ignore' };
  if (action.do === 'ignore') return;
  d.log('debug', { what: 'signal', signal });
  const hangup = action.do === 'hangup';
  const resolved: SignalAction = hangup ? (terminalGone ? { do: 'stop' } : { do: 'reload' }) : action;
  perform(d, resolved, signal);
}

const SIGNAL_NUMBERS: Partial<Record<Signal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };

function perform(d: Draft, action: SignalAction, signal: Signal): void {
  const forced = 128 + (SIGNAL_NUMBERS[signal] ?? 15);
  switch (action.do) {
    case 'stop':
      if (d.s.phase !== 'stopping') {
        beginStop(d, {
          signal: action.signal ?? d.s.policy.stopSignal,
          cause: signal,
          intervalMs: action.intervalMs ?? 0,
        });
      } else if (signal !== 'SIGQUIT') forceStop(d, forced);
      return;
    case 'interrupt':
      if (d.s.lastInterruptMs !== null && d.now - d.s.lastInterruptMs < INTERRUPT_WINDOW_MS) return;
      d.s.lastInterruptMs = d.now;
      if (d.s.phase !== 'stopping') beginStop(d, { cause: signal });
      else forceStop(d, forced);
      return;
    case 'stopNow':
      return beginStop(d, { cause: signal, immediate: true });
    case 'reload':
    case 'hangup':
      return beginReload(d);
    case 'scale':
      return scaleBy(d, action.by);
    case 'forward':
      return forward(d, action.signal, action.intervalMs ?? 0);
    case 'reopenLogs':
    case 'upgrade':
    case 'ignore':
      return maintain(d, action.do);
  }
}

function maintain(d: Draft, what: 'reopenLogs' | 'upgrade' | 'ignore'): void {
  if (what === 'reopenLogs') d.commands.push({ type: 'reopenLogs' });
  // A stop is carried to its end by the manager that began it. So is half a rollout: there the shell waits.
  if (what === 'upgrade' && d.s.phase === 'running') d.commands.push({ type: 'reexec' });
}

function forward(d: Draft, signal: Signal, intervalMs: number): void {
  if (intervalMs > 0) {
    d.s.stagger = { signal, workerIds: d.workers.map((w) => w.id), intervalMs, nextAtMs: d.now };
    return;
  }
  for (const w of d.workers) d.signal(w, signal);
}

function onControl(d: Draft, request: ControlRequest): void {
  switch (request.do) {
    case 'stop':
      return beginStop(d, { cause: null, immediate: !request.graceful });
    case 'reload':
      return beginReload(d);
    case 'scale':
      return scale(d, request.workers);
    case 'retire': {
      const w = d.find(request.workerId);
      if (w) retire(d, w, request.reason);
      return;
    }
    case 'reopenLogs':
    case 'upgrade':
      return maintain(d, request.do);
  }
}

function onListenFailed(d: Draft, address: string, code: string): void {
  d.log('error', { what: 'listen-failed', address, code });
  if (exits(d) && d.s.phase === 'running') startFailed(d, `cannot listen on ${address}: ${code}`, 4);
}
