/** The events of an engine on their way to the one who waits for them. */
import { nowMs } from './clock';
import type { EngineEvent } from './engine';

/** Longest delay of setTimeout(); a longer one would fire at once. */
const MAX_DELAY_MS = 2_147_483_647;

export class EventQueue {
  #events: EngineEvent[] = [];
  #awake = false;
  #resolve: ((events: readonly EngineEvent[]) => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  push(event: EngineEvent): void {
    this.#events.push(event);
    this.#deliver();
  }

  /** What nobody has been given yet. */
  get waiting(): readonly EngineEvent[] {
    return [...this.#events];
  }

  /** Ends the current wait, or the next one if there is none. */
  wake(): void {
    this.#awake = true;
    this.#deliver();
  }

  wait(deadlineMs: number): Promise<readonly EngineEvent[]> {
    if (this.#resolve !== null) throw new Error('one wait at a time');
    return new Promise((resolve) => {
      this.#resolve = resolve;
      if (this.#events.length > 0 || this.#awake) {
        this.#deliver();
      } else if (Number.isFinite(deadlineMs)) {
        this.#arm(deadlineMs);
      }
    });
  }

  /** Node's timers count whole milliseconds of the loop's clock, so that one may fire a little early. */
  #arm(deadlineMs: number): void {
    const delayMs = Math.max(0, Math.ceil(deadlineMs - nowMs()));
    this.#timer = setTimeout(
      () => (nowMs() < deadlineMs ? this.#arm(deadlineMs) : this.wake()),
      Math.min(delayMs, MAX_DELAY_MS),
    );
  }

  #deliver(): void {
    const resolve = this.#resolve;
    if (resolve === null) return;
    this.#resolve = null;
    this.#awake = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const events = this.#events;
    this.#events = [];
    resolve(events);
  }
}
