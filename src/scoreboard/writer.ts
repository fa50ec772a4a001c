/** A worker's side of its row: plain stores into memory that the manager reads, no system call and no message. */
import {
  FLAG,
  LAYOUT_VERSION,
  MAGIC,
  MESSAGE_LENGTH,
  NUMBER,
  type NumberName,
  PAGE_BYTES,
  STATES,
  WORD,
} from './layout';
import type { RowState } from './row';

/** What a heartbeat brings, besides its own time. */
export interface Sample {
  readonly heartbeatMs: number;
  readonly startedAtMs: number;
  readonly pid: number;
  readonly utilisation: number;
  readonly lagMs: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

export class RowWriter {
  readonly #words: Uint32Array;
  readonly #numbers: Float64Array;

  /** `page`: all zero, at least PAGE_BYTES long. */
  constructor(page: ArrayBuffer = new ArrayBuffer(PAGE_BYTES)) {
    this.#words = new Uint32Array(page, 0, PAGE_BYTES / 4);
    this.#numbers = new Float64Array(page, 0, PAGE_BYTES / 8);
    this.#words[WORD.version] = LAYOUT_VERSION;
    this.#words[WORD.magic] = MAGIC;
  }

  get state(): RowState | null {
    return STATES[this.#words[WORD.state]!] ?? null;
  }

  set state(state: RowState) {
    this.#words[WORD.state] = STATES.indexOf(state);
  }

  set inspectable(is: boolean) {
    this.#words[WORD.flags] = is ? FLAG.inspectable : 0;
  }

  set requests(count: number) {
    this.#numbers[NUMBER.requests] = count;
  }

  set connections(count: number) {
    this.#numbers[NUMBER.connections] = count;
  }

  addBytes(read: number, written: number): void {
    this.#numbers[NUMBER.bytesRead]! += read;
    this.#numbers[NUMBER.bytesWritten]! += written;
  }

  /** A heartbeat alone, from a loop that has time for nothing else. One number: no reader can see half of it. */
  touch(heartbeatMs: number): void {
    this.#numbers[NUMBER.heartbeatMs] = heartbeatMs;
  }

  beat(sample: Sample): void {
    const sequence = this.#words[WORD.sequence]!;
    // Atomics are here for their order, which plain stores do not have on every processor.
    Atomics.store(this.#words, WORD.sequence, sequence + 1);
    for (const name of Object.keys(sample) as (keyof Sample)[]) {
      this.#numbers[NUMBER[name]] = sample[name];
    }
    Atomics.store(this.#words, WORD.sequence, sequence + 2);
  }

  /** The row as a message, for a manager that has no memory in common. */
  toMessage(): number[] {
    const values = new Array<number>(MESSAGE_LENGTH);
    values[0] = this.#words[WORD.state]!;
    values[1] = this.#words[WORD.flags]!;
    let at = 2;
    for (const name of Object.keys(NUMBER) as NumberName[]) values[at++] = this.#numbers[NUMBER[name]]!;
    return values;
  }
}
