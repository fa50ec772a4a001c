/** The working copy of a state during one step, with the commands that the step gives. */
import type { Signal } from '../engine/engine';
import type { Command, LogEntry } from './command';
import type { Policy } from './policy';
import { nextRandom } from './random';
import type { LeaveReason, Rollout, SlotState, State, WorkerState } from './state';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const FRESH_SLOT: SlotState = { failures: 0, notBeforeMs: 0 };

export class Draft {
  readonly s: Writable<State>;
  readonly now: number;
  readonly commands: Command[] = [];
  workers: WorkerState[];
  #slots: SlotState[];
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #statusChanged = false;
  #exitCode: number | null = null;

  constructor(state: State, now: number) {
    this.s = { ...state };
    this.now = now;
    this.workers = state.workers.slice();
    this.#slots = state.slots.slice();
  }

  finish(): { state: State; commands: readonly Command[] } {
    if (this.#statusChanged) this.commands.push({ type: 'publishStatus' });
    if (this.#exitCode !== null) this.commands.push({ type: 'exit', code: this.#exitCode });
    this.s.workers = this.workers;
    this.s.slots = this.#slots;
    this.s.wakeAtMs = Number.isFinite(this.#wakeAtMs) && this.s.phase !== 'ended' ? this.#wakeAtMs : null;
    return { state: this.s, commands: this.commands };
  }

  /** Asks for a tick at that time. */
  later(atMs: number): void {
    if (atMs < this.#wakeAtMs) this.#wakeAtMs = atMs;
  }

  statusChanged(): void {
    this.#statusChanged = true;
  }

  /** Ends the manager, after everything else that the step says. */
  exit(code: number): void {
    this.s.phase = 'ended';
    this.#exitCode = code;
  }

  log(level: 'debug' | 'info' | 'warn' | 'error', entry: LogEntry): void {
    this.commands.push({ type: 'log', level, entry });
  }

  find(workerId: number): WorkerState | undefined {
    return this.workers.find((w) => w.id === workerId);
  }

  patch(w: WorkerState, change: Partial<WorkerState>): WorkerState {
    const changed = { ...w, ...change };
    this.workers[this.#indexOf(w)] = changed;
    return changed;
  }

  remove(w: WorkerState): void {
    this.workers.splice(this.#indexOf(w), 1);
    this.#statusChanged = true;
  }

  /** By id: `w` may be an older copy. */
  #indexOf(w: WorkerState): number {
    return this.workers.findIndex((other) => other.id === w.id);
  }

  slot(index: number): SlotState {
    return this.#slots[index] ?? FRESH_SLOT;
  }

  setSlot(index: number, slot: SlotState): void {
    while (this.#slots.length <= index) this.#slots.push(FRESH_SLOT);
    this.#slots[index] = slot;
  }

  /** New code is not held up by the failures of the old. */
  forgetFailures(): void {
    this.#slots = [];
  }

  random(): number {
    const next = nextRandom(this.s.seed);
    this.s.seed = next.seed;
    return next.share;
  }

  /** The policy that a generation is started under. */
  policyOf(generation: number): Policy {
    const { rollout } = this.s;
    return rollout?.policy && rollout.generation === generation ? rollout.policy : this.s.policy;
  }

  /** The rollout that the worker belongs to, before it is committed. */
  rolloutOf(w: WorkerState): Rollout | null {
    return w.generation === this.s.rollout?.generation ? this.s.rollout : null;
  }

  isCandidate(w: WorkerState): boolean {
    return this.rolloutOf(w) !== null;
  }

  /** Its generation neither serves nor begins: it can only leave. */
  isOver(w: WorkerState): boolean {
    return w.generation !== this.s.generation && !this.isCandidate(w);
  }

  signal(w: WorkerState, signal: Signal): void {
    if (w.pid !== null) this.commands.push({ type: 'signal', workerId: w.id, signal });
  }

  /** Tells a worker to finish. One whose spawn is under way is told when it is there. */
  drain(w: WorkerState, reason: LeaveReason, signal: Signal = this.s.policy.drainSignal): void {
    const grace = this.s.policy.gracefulTimeoutMs;
    const deadlineMs = grace === null ? null : this.now + grace;
    const leaving = this.patch(w, { phase: 'draining', leaving: reason, deadlineMs });
    const { id: workerId, slot, generation, pid } = leaving;
    this.log('info', { what: 'worker-leaving', workerId, slot, generation, pid, reason, signal });
    this.signal(leaving, signal);
    this.#statusChanged = true;
  }

  kill(w: WorkerState, reason: LeaveReason): void {
    const killed = this.patch(w, { phase: 'killed', leaving: w.leaving ?? reason, deadlineMs: null });
    const { id: workerId, slot, generation, pid } = killed;
    const late = w.deadlineMs !== null && w.deadlineMs <= this.now;
    const because = w.leaving ?? reason;
    this.log('warn', { what: 'worker-killed', workerId, slot, generation, pid, late, reason: because });
    this.signal(killed, 'SIGKILL');
    this.#statusChanged = true;
  }
}
