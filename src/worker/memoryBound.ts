/**
 * `--max-memory` from within: a worker knows what a request costs, and what may still come. It asks for its replacement
 * while there is room for what it will serve until that is ready, and leaves by itself before the last room is used up.
 */
import { nowMs } from '../engine/clock';
import { memoryBytes } from './memory';
import type { MemoryLimit } from './protocol';

export interface MemoryBoundOptions {
  readonly limit: MemoryLimit;
  /** requests that may still come when nothing is accepted any more */
  expected(): number;
  retire(): void;
  leave(): void;
  /** in place of this process's own memory and clock */
  measure?(): number | null;
  now?(): number;
}

/** Far from the limit so many requests go by from one look to the next. */
const MAX_APART = 32;
/** Looks are so many times closer than the limit is, by what requests have cost. */
const LOOKS_TO_LIMIT = 8;
/** Weight of the newest look in the growth that requests bring, and what is left of an outlier at the next. */
const NEWEST = 0.1;
const OUTLIER_LEFT = 0.98;
/** A worker is never asked to leave before it has used so much of its room: an estimate may be far too high at first. */
const ALWAYS_USED = 0.5;
/** How much longer than this worker's own start another one's may take. */
const START_FACTOR = 2;

export class MemoryBound {
  readonly #options: MemoryBoundOptions;
  readonly #measure: () => number | null;
  readonly #now: () => number;
  readonly #bornAtMs: number;
  #servesAtMs = 0;
  #startMs = 0;
  /** of the program when it began to serve; null: it does not serve yet */
  #base: number | null = null;
  #served = 0;
  /** at the last look */
  #bytes = 0;
  #lookedAt = 0;
  #nextLook = 0;
  /** bytes a request, of late */
  #growth = 0;
  /** bytes by which memory has grown beyond that, by what is no request's fault */
  #outlier = 0;
  #asked = false;
  #left = false;

  constructor(options: MemoryBoundOptions) {
    this.#options = options;
    this.#measure = options.measure ?? (() => memoryBytes('self', options.limit.privateOnly));
    this.#now = options.now ?? nowMs;
    this.#bornAtMs = this.#now();
  }

  /** It can do its work: what it uses now is none of the requests'. */
  serves(): void {
    if (this.#base !== null) return;
    this.#base = this.#bytes = this.#measure() ?? 0;
    this.#servesAtMs = this.#now();
    this.#startMs = this.#servesAtMs - this.#bornAtMs;
  }

  /** `total`: requests served so far. */
  requestsServed(total: number): void {
    this.#served = total;
    if (total < this.#nextLook || this.#left) return;
    this.serves();
    const bytes = this.#measure();
    // This system does not tell.
    if (bytes === null) this.#left = true;
    else this.#look(bytes, this.#base!);
  }

  #look(bytes: number, base: number): void {
    this.#learn(bytes, base);
    const room = this.#options.limit.bytes - base;
    // It needs more than it may before it serves anything: no request could change that, and the manager sees it too.
    if (room <= 0) return;
    const growth = this.#perRequest(base);
    const soonest = base + room * ALWAYS_USED;
    const last = (this.#options.expected() + 1) * growth + this.#outlier;
    const leaveAt = Math.max(this.#options.limit.bytes - last, soonest);
    const askAt = Math.max(leaveAt - this.#requestsInAStart() * growth, soonest);
    if (bytes >= askAt) this.#ask();
    if (bytes >= leaveAt) this.#leave();
    const left = (this.#asked ? leaveAt : askAt) - bytes;
    const apart = growth === 0 ? MAX_APART : left / growth / LOOKS_TO_LIMIT;
    this.#nextLook = this.#served + Math.max(1, Math.min(MAX_APART, Math.floor(apart)));
  }

  #learn(bytes: number, base: number): void {
    const requests = Math.max(1, this.#served - this.#lookedAt);
    const grown = bytes - this.#bytes;
    const unexpected = grown - this.#perRequest(base) * requests;
    // At the first look nothing was expected.
    if (this.#lookedAt > 0) this.#outlier = Math.max(this.#outlier * OUTLIER_LEFT, unexpected);
    this.#growth += NEWEST * (grown / requests - this.#growth);
    this.#bytes = bytes;
    this.#lookedAt = this.#served;
  }

  /** By the last look: of late or in the long run, whatever is more. */
  #perRequest(base: number): number {
    return Math.max(this.#growth, (this.#bytes - base) / Math.max(1, this.#lookedAt), 0);
  }

  /** How many it serves while a replacement starts. */
  #requestsInAStart(): number {
    const servingMs = Math.max(1, this.#now() - this.#servesAtMs);
    return (this.#served / servingMs) * this.#startMs * START_FACTOR;
  }

  #ask(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#options.retire();
  }

  #leave(): void {
    this.#left = true;
    this.#options.leave();
  }
}
