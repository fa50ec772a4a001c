/** PSS and private memory of the workers, looked up beside the scrapes: a walk over a worker's mappings takes milliseconds. */
import { memoryOf } from '../control/memory';
import type { MemoryStatus } from '../control/protocol';
import type { State } from '../core/state';
import { nowMs } from '../engine/clock';

/** No more often than this, and only when somebody looks. */
export const MEMORY_EVERY_MS = 15_000;

export class MemorySamples {
  #byWorker = new Map<number, MemoryStatus>();
  #atMs = Number.NEGATIVE_INFINITY;
  #looking = false;

  /** As last looked up; begins to look anew where that is too long ago. */
  of(state: State): ReadonlyMap<number, MemoryStatus> {
    if (!this.#looking && nowMs() - this.#atMs >= MEMORY_EVERY_MS) void this.#look(state);
    return this.#byWorker;
  }

  async #look({ workers }: State): Promise<void> {
    this.#looking = true;
    this.#atMs = nowMs();
    const found = new Map<number, MemoryStatus>();
    // One after the other: the thread pool is others' too.
    for (const { id, pid } of workers) {
      const memory = pid === null ? null : await memoryOf(pid);
      if (memory !== null) found.set(id, memory);
    }
    this.#byWorker = found;
    this.#looking = false;
  }
}
