/** How much memory a process uses, as far as it would be free without it. */
import { readFileSync } from 'node:fs';

/**
 * Resident bytes of a process (`'self'` or a pid), or only those that it shares with nobody, so that a forked worker is
 * not charged with the program that all of them share. null: it is gone, or this system does not tell.
 */
export function memoryBytes(pid: number | 'self', privateOnly: boolean): number | null {
  try {
    return privateOnly ? privateBytes(pid) : residentBytes(pid);
  } catch {
    return null;
  }
}

function residentBytes(pid: number | 'self'): number | null {
  if (pid === 'self') return process.memoryUsage.rss();
  return sumOf(`/proc/${pid}/status`, /^VmRSS:\s+(\d+) kB$/gm);
}

function privateBytes(pid: number | 'self'): number | null {
  return sumOf(`/proc/${pid}/smaps_rollup`, /^Private_\w+:\s+(\d+) kB$/gm);
}

/** null: there is no such line, as in a zombie's. */
function sumOf(file: string, line: RegExp): number | null {
  const kib = [...readFileSync(file, 'latin1').matchAll(line)].map(([, digits]) => Number(digits));
  return kib.length === 0 ? null : kib.reduce((sum, each) => sum + each, 0) * 1024;
}
