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

/** Resident bytes of private writable memory, and the number of mappings that it is in. */
export function privateMemory(pid) {
  let mappings = 0;
  let bytes = 0;
  let writable = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const header = /^[0-9a-f]+-[0-9a-f]+ (....) /.exec(line);
    if (header !== null) writable = header[1] === 'rw-p';
    const rss = /^Rss:\s+(\d+) kB$/.exec(line);
    if (rss === null || !writable || rss[1] === '0') continue;
    mappings++;
    bytes += Number(rss[1]) * 1024;
  }
  return { mappings, bytes };
}
