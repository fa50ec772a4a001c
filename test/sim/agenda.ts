/** The virtual clock, and what is going to happen. */
interface Entry {
  atMs: number;
  /** of two at one time the one planned first happens first */
  seq: number;
  run: () => void;
}

export class Agenda {
  now: number;
  readonly #heap: Entry[] = [];
  #seq = 0;

  constructor(nowMs: number) {
    this.now = nowMs;
  }

  /** Infinity: nothing is planned. May lie in the past after a jump. */
  get nextAtMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  after(ms: number, run: () => void): void {
    const entry = { atMs: this.now + ms, seq: this.#seq++, run };
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[at] = heap[parent] as Entry;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Lets the time pass, and with it all that is planned until then. */
  advance(toMs: number): void {
    while (this.nextAtMs <= toMs) {
      const entry = this.#take();
      if (entry.atMs > this.now) this.now = entry.atMs;
      entry.run();
    }
    if (toMs > this.now) this.now = toMs;
  }

  /** The clock jumps: what was planned meanwhile is late. */
  jump(ms: number): void {
    this.now += ms;
  }

  #take(): Entry {
    const heap = this.#heap;
    const first = heap[0] as Entry;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, heap[child] as Entry)) child++;
      if (!before(heap[child] as Entry, last)) break;
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq);
}
