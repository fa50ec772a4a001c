/**
 * Where everything is in a worker's row: one page of shared memory (native), or the same page in the manager alone, filled from
 * messages (js). The one table for both sides.
 *
 * Numbers are floats of 64 bits on their own eight bytes, which no processor tears. Those that a request changes are stored by
 * themselves; those of a heartbeat belong together, and stand between two changes of `sequence`, which is odd meanwhile.
 */
import type { RowState } from './row';

/** One page: nothing of another worker's is in it. */
export const PAGE_BYTES = 4096;
export const MAGIC = 0x42_46_52_50;
/** A row of another version is read as none. */
export const LAYOUT_VERSION = 1;

/** Index in a Uint32Array over the page. */
export const WORD = { magic: 0, version: 1, sequence: 2, state: 3, flags: 4 } as const;

/** Index in a Float64Array over the page; the words are before them. */
export const NUMBER = {
  // by themselves
  requests: 4,
  connections: 5,
  bytesRead: 6,
  bytesWritten: 7,
  // together, between two changes of `sequence`
  heartbeatMs: 8,
  startedAtMs: 9,
  pid: 10,
  utilisation: 11,
  lagMs: 12,
  rssBytes: 13,
  heapBytes: 14,
} as const;

export type NumberName = keyof typeof NUMBER;

/** By the number in the page; 0 is a row that nobody has begun. */
export const STATES: readonly (RowState | null)[] = [null, 'starting', 'idle', 'busy', 'draining'];

export const FLAG = {
  /** SIGUSR1 opens the inspector: the program has no handler of its own */
  inspectable: 1,
} as const;

export interface Range {
  readonly max: number;
  readonly whole: boolean;
}

const count: Range = { max: Number.MAX_SAFE_INTEGER, whole: true };
const measure: Range = { max: Number.MAX_SAFE_INTEGER, whole: false };

/** What a number may be, from 0 on; whatever a worker stores, a reader sees nothing else. */
export const RANGES: Readonly<Record<NumberName, Range>> = {
  requests: count,
  connections: count,
  bytesRead: count,
  bytesWritten: count,
  heartbeatMs: measure,
  startedAtMs: measure,
  /** PID_MAX_LIMIT of Linux */
  pid: { max: 4_194_304, whole: true },
  utilisation: { max: 1, whole: false },
  lagMs: measure,
  rssBytes: count,
  heapBytes: count,
};

/** How a row travels in a message: state, flags, then the numbers in the order of the table. */
export const MESSAGE_LENGTH = 2 + Object.keys(NUMBER).length;
