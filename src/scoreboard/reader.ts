/** The manager's side of one row. Whatever a worker stores in its page, a reader sees a valid row or none. */
import {
  FLAG,
  LAYOUT_VERSION,
  MAGIC,
  MESSAGE_LENGTH,
  NUMBER,
  type NumberName,
  PAGE_BYTES,
  RANGES,
  STATES,
  WORD,
} from './layout';
import type { ScoreboardRow } from './row';

/** A beat takes less than a microsecond to write: whoever finds so many half done reads nothing. */
const MAX_ATTEMPTS = 8;

/** Whose row it is: the manager knows, whatever the worker says. */
export interface RowOwner {
  readonly workerId: number;
  readonly slot: number;
  readonly generation: number;
}

export class RowReader {
  readonly owner: RowOwner;
  readonly #words: Uint32Array;
  readonly #numbers: Float64Array;

  constructor(owner: RowOwner, page: ArrayBuffer) {
    this.owner = owner;
    this.#words = new Uint32Array(page, 0, PAGE_BYTES / 4);
    this.#numbers = new Float64Array(page, 0, PAGE_BYTES / 8);
  }

  /** null: nobody has begun it, it was torn, or it holds what no worker of ours writes. */
  read(): ScoreboardRow | null {
    const words = this.#words;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const sequence = Atomics.load(words, WORD.sequence);
      if (sequence % 2 !== 0) continue;
      const row = this.#copy();
      if (Atomics.load(words, WORD.sequence) === sequence) return row;
    }
    return null;
  }

  /** Whether SIGUSR1 would open its inspector, by its own word. */
  get inspectable(): boolean {
    return (this.#words[WORD.flags]! & FLAG.inspectable) !== 0;
  }

  /** Takes over a row that came as a message; one of the wrong shape is passed over. */
  fill(values: unknown): void {
    if (!Array.isArray(values) || values.length !== MESSAGE_LENGTH) return;
    if (!values.every((value) => typeof value === 'number')) return;
    const [state, flags, ...numbers] = values as [number, number, ...number[]];
    this.#words[WORD.state] = state;
    this.#words[WORD.flags] = flags;
    let at = 0;
    for (const name of Object.keys(NUMBER) as NumberName[]) this.#numbers[NUMBER[name]] = numbers[at++]!;
    this.#words[WORD.version] = LAYOUT_VERSION;
    this.#words[WORD.magic] = MAGIC;
  }

  #copy(): ScoreboardRow | null {
    const words = this.#words;
    if (words[WORD.magic] !== MAGIC || words[WORD.version] !== LAYOUT_VERSION) return null;
    const state = STATES[words[WORD.state]!] ?? null;
    if (state === null) return null;
    const { workerId, slot, generation } = this.owner;
    const row: ScoreboardRow = {
      workerId,
      slot,
      generation,
      pid: this.#number('pid'),
      state,
      heartbeatMs: this.#number('heartbeatMs'),
      startedAtMs: this.#number('startedAtMs'),
      requests: this.#number('requests'),
      connections: this.#number('connections'),
      bytesRead: this.#number('bytesRead'),
      bytesWritten: this.#number('bytesWritten'),
      utilisation: this.#number('utilisation'),
      lagMs: this.#number('lagMs'),
      rssBytes: this.#number('rssBytes'),
      heapBytes: this.#number('heapBytes'),
    };
    return isValid(row) ? row : null;
  }

  #number(name: NumberName): number {
    return this.#numbers[NUMBER[name]]!;
  }
}

const CHECKS = Object.entries(RANGES) as [NumberName, (typeof RANGES)[NumberName]][];

/** NaN is in no range. */
function isValid(row: ScoreboardRow): boolean {
  for (const [name, { max, whole }] of CHECKS) {
    const value = row[name];
    if (!(value >= 0 && value <= max) || (whole && !Number.isInteger(value))) return false;
  }
  return true;
}
