/** The memory of workers as the kernel counts it. Looked up only when somebody asks: it costs a walk over each one's mappings. */
import { readFile } from 'node:fs/promises';
import type { MemoryStatus, Status, WorkerStatus } from './protocol';

/** Files read at a time: each takes a thread of libuv's pool for up to milliseconds. */
const AT_A_TIME = 2;

/** The status with `memory` where it can be had. */
export async function withMemory(status: Status): Promise<Status> {
  const workers = [...status.workers];
  let next = 0;
  const look = async (): Promise<void> => {
    while (next < workers.length) {
      const at = next++;
      const worker: WorkerStatus = workers[at]!;
      if (worker.pid !== null) workers[at] = { ...worker, memory: await memoryOf(worker.pid) };
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, look));
  return { ...status, workers };
}

/** null: it has ended, is another user's, or the system has no such file (Linux 4.14). */
export async function memoryOf(pid: number): Promise<MemoryStatus | null> {
  try {
    return parseRollup(await readFile(`/proc/${pid}/smaps_rollup`, 'latin1'));
  } catch {
    return null;
  }
}

/** smaps_rollup of proc(5). null: it is cut short, or of a process that ends. */
export function parseRollup(text: string): MemoryStatus | null {
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024;
  const memory = {
    rssBytes: bytes('Rss'),
    pssBytes: bytes('Pss'),
    privateBytes: bytes('Private_Clean') + bytes('Private_Dirty'),
  };
  return Number.isNaN(memory.rssBytes + memory.pssBytes + memory.privateBytes) ? null : memory;
}
