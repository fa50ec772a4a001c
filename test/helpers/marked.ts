/** Processes that a test has started, or that came from these: told by a line in their environment. */
import { readdirSync, readFileSync } from 'node:fs';

/** Pids of those that live (a zombie has no environment) and have `NAME=value` in their environment. */
export function markedProcesses(marker: string): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => isMarked(pid, marker));
}

function isMarked(pid: number, marker: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(marker);
  } catch {
    return false;
  }
}

export function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself meanwhile.
  }
}
