/** A tree of processes, as /proc shows it. Linux. */
import { readdirSync, readFileSync } from 'node:fs';

/** `root` and all its descendants. */
export function tree(root) {
  const pids = [root];
  for (const pid of pids) {
    for (const tid of ifThere(() => readdirSync(`/proc/${pid}/task`)) ?? []) {
      const children = ifThere(() => readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1')) ?? '';
      pids.push(...children.split(' ').filter(Boolean).map(Number));
    }
  }
  return pids;
}

/** Proportional set size: what is shared counts once, divided among those that share it. In kB, as the kernel says it; 0 of one that has ended. */
export function pssKb(pid) {
  const rollup = ifThere(() => readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')) ?? '';
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0);
}

/** Managers have helpers that live but a moment. */
function ifThere(read) {
  try {
    return read();
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return null;
    throw error;
  }
}

/** Resident bytes, and the number of mappings that they are in: of all memory, and of what is private and may be written. */
export function residentMemory(pid) {
  const all = { mappings: 0, bytes: 0 };
  const writable = { mappings: 0, bytes: 0 };
  let permissions = '';
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    permissions = /^[0-9a-f]+-[0-9a-f]+ (....) /.exec(line)?.[1] ?? permissions;
    const kb = Number(/^Rss:\s+(\d+) kB$/.exec(line)?.[1] ?? 0);
    if (kb === 0) continue;
    for (const sum of permissions === 'rw-p' ? [all, writable] : [all]) {
      sum.mappings++;
      sum.bytes += kb * 1024;
    }
  }
  return { all, writable };
}
