/** Counts what a worker has served, and asks once to be replaced when it is enough. */
import type { Channel } from './channel';

export class RequestCounter {
  readonly #channel: Channel;
  /** 0: without bound */
  readonly #max: number;
  #count = 0;
  readonly #onCount: (total: number) => void;
  #retired = false;

  /** `onCount` is told how many there have been. */
  constructor(channel: Channel, max: number, onCount: (total: number) => void) {
    this.#onCount = onCount;
    this.#channel = channel;
    this.#max = max;
  }

  /** It goes on serving until it is told to stop: a replacement has to be ready first. */
  count(served: number): void {
    this.#count += served;
    this.#onCount(this.#count);
    if (this.#max === 0 || this.#count < this.#max) return;
    this.retire('max-requests');
  }

  retire(reason: string): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#channel.send({ type: 'retire', reason });
  }
}
