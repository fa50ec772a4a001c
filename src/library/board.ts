/**
 * What workers of a {@link Prefork} tell and are told without a message: a row of sixteen bytes each, in memory that is shared
 * with forked workers. Rows of workers that have no part in the memory are written for them by the manager.
 */
import type { Binding } from '../engine/binding';
import { sealedMemory } from '../scoreboard/memory';

export const rowStates = ['empty', 'starting', 'idle', 'busy'] as const;
export type RowState = (typeof rowStates)[number];

const ROW_BYTES = 16;
const CHUNK_BYTES = 4096;
const STATE = 0;
const TOLD = 1;
const HEARTBEAT = 8;

export class Row {
  readonly #bytes: DataView;

  constructor(bytes: DataView) {
    this.#bytes = bytes;
  }

  get state(): RowState {
    // A byte that a worker scribbled on is no state of its.
    return rowStates[this.#bytes.getUint8(STATE)] ?? 'starting';
  }

  set state(state: RowState) {
    this.#bytes.setUint8(STATE, rowStates.indexOf(state));
  }

  /** The manager has told it to end, perhaps before it could listen to signals. */
  get told(): boolean {
    return this.#bytes.getUint8(TOLD) !== 0;
  }

  set told(told: boolean) {
    this.#bytes.setUint8(TOLD, told ? 1 : 0);
  }

  /** Of the last `tick()`; 0: there was none. */
  get heartbeatMs(): number {
    const ms = this.#bytes.getFloat64(HEARTBEAT);
    return Number.isFinite(ms) ? ms : 0;
  }

  set heartbeatMs(ms: number) {
    this.#bytes.setFloat64(HEARTBEAT, ms);
  }

  clear(): void {
    this.state = 'empty';
    this.told = false;
    this.heartbeatMs = 0;
  }
}

export class Board {
  readonly #binding: Binding | null;
  readonly #free: Row[] = [];

  /** With the addon, rows are in memory that a forked child shares. */
  constructor(binding: Binding | null) {
    this.#binding = binding;
  }

  /** A row of nobody's, that begins as `starting`. */
  claim(): Row {
    if (this.#free.length === 0) this.#grow();
    const row = this.#free.pop()!;
    row.clear();
    row.state = 'starting';
    return row;
  }

  release(row: Row): void {
    row.clear();
    this.#free.push(row);
  }

  #grow(): void {
    const chunk = this.#allocate();
    for (let at = CHUNK_BYTES - ROW_BYTES; at >= 0; at -= ROW_BYTES) {
      this.#free.push(new Row(new DataView(chunk, at, ROW_BYTES)));
    }
  }

  /** Without shared memory (no memfd, no descriptor left) a worker's row is its own copy. */
  #allocate(): ArrayBuffer {
    const fd = this.#binding === null ? -1 : sealedMemory(this.#binding, 'prefork-board', CHUNK_BYTES);
    if (this.#binding === null || fd < 0) return new ArrayBuffer(CHUNK_BYTES);
    const memory = this.#binding.mmap(fd, 0, CHUNK_BYTES, true);
    this.#binding.close(fd);
    return typeof memory === 'number' ? new ArrayBuffer(CHUNK_BYTES) : memory;
  }
}
