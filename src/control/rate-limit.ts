/** A token bucket: so many at once, and so many a second after that. */
import { nowMs } from '../engine/clock';

export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #atMs = nowMs();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** Takes one; false where there is none. */
  take(): boolean {
    const now = nowMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
