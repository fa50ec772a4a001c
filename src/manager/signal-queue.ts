/** Signals to the manager. Handlers only queue; the loop takes them in the order in which they came. */
import { closeSync, openSync } from 'node:fs';
import type { Event } from '../core/event';
import type { SignalTable } from '../core/policy';
import type { Signal } from '../engine/engine';

/** Signals kept while the loop is busy; the kernel coalesces what is beyond the first of a kind anyway. */
const MAX_QUEUED = 64;

export class SignalQueue {
  readonly #wake: () => void;
  readonly #handlers = new Map<Signal, () => void>();
  /** whether there was a controlling terminal at the start */
  readonly hadTerminal: boolean;
  #queued: Extract<Event, { type: 'signal' }>[] = [];

  constructor(wake: () => void, hadTerminal = hasTerminal()) {
    this.#wake = wake;
    this.hadTerminal = hadTerminal;
  }

  /** Not taken yet. */
  get waiting(): readonly Event[] {
    return [...this.#queued];
  }

  /** Listens for every signal of the table, besides those that it listens for already. */
  trap(table: SignalTable): void {
    for (const signal of Object.keys(table) as Signal[]) {
      if (this.#handlers.has(signal)) continue;
      const handler = (): void => this.#onSignal(signal);
      process.on(signal, handler);
      this.#handlers.set(signal, handler);
    }
  }

  take(): readonly Event[] {
    const taken = this.#queued;
    this.#queued = [];
    return taken;
  }

  close(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
    this.#handlers.clear();
  }

  #onSignal(signal: Signal): void {
    if (this.#queued.length >= MAX_QUEUED) return;
    const terminalGone = signal === 'SIGHUP' && this.hadTerminal && !hasTerminal();
    this.#queued.push({ type: 'signal', signal, terminalGone });
    this.#wake();
  }
}

/** tty(4): /dev/tty opens only while the process has a controlling terminal. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
