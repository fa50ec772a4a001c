/** The rows of all workers of a manager, and the memory that they are in. */
import type { Binding } from '../engine/binding';
import { PAGE_BYTES } from './layout';
import { sealedMemory } from './memory';
import { type RowOwner, RowReader } from './reader';
import type { Scoreboard, ScoreboardRow } from './row';

/** How a worker is given its row: by a descriptor of a page, or it sends messages. */
export type Seat = { readonly fd: number } | 'channel';

/** What is kept of a row over the replacement of the manager. */
export interface RowHandover extends RowOwner {
  /** −1: it comes by messages */
  readonly fd: number;
}

interface Entry {
  readonly reader: RowReader;
  readonly fd: number;
}

export class Board implements Scoreboard {
  /** null: without shared memory, by messages alone */
  readonly #binding: Binding | null;
  readonly #entries = new Map<number, Entry>();

  constructor(binding: Binding | null) {
    this.#binding = binding;
  }

  /** A row for a worker that is about to be started. Where there is no memory to be had it comes by messages. */
  open(owner: RowOwner): Seat {
    const fd = this.#binding === null ? -1 : sealedMemory(this.#binding, 'prefork-row', PAGE_BYTES);
    return this.#add(owner, fd) ? { fd } : 'channel';
  }

  /** false: it is no page, and the row has to come by messages. */
  #add(owner: RowOwner, fd: number): boolean {
    const page = fd < 0 ? fd : this.#binding!.mmap(fd, 0, PAGE_BYTES, false);
    const shared = typeof page !== 'number';
    if (!shared && fd >= 0) this.#binding!.close(fd);
    const reader = new RowReader(owner, shared ? page : new ArrayBuffer(PAGE_BYTES));
    this.#entries.set(owner.workerId, { reader, fd: shared ? fd : -1 });
    return shared;
  }

  /** What the worker said of itself in a message. */
  receive(workerId: number, values: unknown): void {
    const entry = this.#entries.get(workerId);
    if (entry !== undefined && entry.fd < 0) entry.reader.fill(values);
  }

  read(workerId: number): ScoreboardRow | null {
    return this.#entries.get(workerId)?.reader.read() ?? null;
  }

  /** Whether SIGUSR1 would open that worker's inspector, by its own word. */
  isInspectable(workerId: number): boolean {
    return this.#entries.get(workerId)?.reader.inspectable ?? false;
  }

  /** The worker has gone. Its page is unmapped when it is collected. */
  close(workerId: number): void {
    const entry = this.#entries.get(workerId);
    if (entry === undefined) return;
    this.#entries.delete(workerId);
    if (entry.fd >= 0) this.#binding?.close(entry.fd);
  }

  closeAll(): void {
    for (const workerId of [...this.#entries.keys()]) this.close(workerId);
  }

  /** For a successor in this process; changes nothing here. */
  handOver(): RowHandover[] {
    return [...this.#entries.values()].map(({ reader, fd }) => ({ ...reader.owner, fd }));
  }

  takeOver(rows: readonly RowHandover[]): void {
    for (const { fd, ...owner } of rows) {
      if (fd >= 0) this.#binding?.setCloexec(fd);
      this.#add(owner, fd);
    }
  }
}
