import type { Connection } from './connections';

/**
 * Open connections in the order of their coming. Linked through themselves: with clients that keep none alive one comes and goes with
 * every request, and a Set costs more than all else that is noted of it.
 */
export class ConnectionList {
  size = 0;
  #first: Connection | null = null;
  #last: Connection | null = null;

  add(connection: Connection): void {
    connection.previous = this.#last;
    if (this.#last === null) this.#first = connection;
    else this.#last.next = connection;
    this.#last = connection;
    this.size++;
  }

  /** Of one that is in the list. */
  delete(connection: Connection): void {
    const { previous, next } = connection;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    connection.previous = connection.next = null;
    this.size--;
  }

  /** All that are open now. */
  toArray(): Connection[] {
    const all: Connection[] = [];
    for (let connection = this.#first; connection !== null; connection = connection.next)
      all.push(connection);
    return all;
  }
}
