/** A worker of a {@link Prefork}, as it sees itself. */
import { nowMs } from '../engine/clock';
import type { Row, RowState } from './board';
import type { Reporter } from './script';

/** Signals that end the loop of `tick()` rather than the process. */
const STOP_SIGNALS = ['SIGTERM', 'SIGQUIT', 'SIGINT'] as const;
/** A sign of life needs a message where no memory is shared; more often than that, it is kept back. */
const TICK_MESSAGE_MS = 100;

export class WorkerSide {
  /** null: started from the script */
  readonly #row: Row | null;
  readonly #reporter: Reporter | null;
  #goesOn = true;
  #ticks = false;
  #toldMs = 0;
  #state: RowState = 'idle';

  constructor(row: Row | null, reporter: Reporter | null) {
    this.#row = row;
    this.#reporter = reporter;
    this.#publish();
  }

  setState(state: RowState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#publish();
  }

  #publish(): void {
    if (this.#row !== null) this.#row.state = this.#state;
    this.#reporter?.send({ prefork: this.#state });
  }

  tick(finished: boolean): boolean {
    if (!this.#ticks) this.#listen();
    if (finished) this.#goesOn = false;
    const now = nowMs();
    if (this.#row !== null) this.#row.heartbeatMs = now;
    if (this.#reporter !== null && now - this.#toldMs >= TICK_MESSAGE_MS) {
      this.#toldMs = now;
      this.#reporter.send({ prefork: 'tick' });
    }
    // The row tells also a loop that never gives a signal handler its turn.
    return this.#goesOn && this.#row?.told !== true;
  }

  #listen(): void {
    this.#ticks = true;
    for (const signal of STOP_SIGNALS) {
      if (process.listenerCount(signal) > 0) continue;
      process.on(signal, () => {
        this.#goesOn = false;
      });
    }
  }
}
