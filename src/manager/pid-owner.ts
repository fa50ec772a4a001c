/**
 * Who holds a pid file. With flock(2) a file that nobody has locked is stale, whatever process has that pid by now; without
 * (no addon) the process of that pid is looked at.
 */
import { closeSync, openSync, readFileSync, type Stats, statSync } from 'node:fs';
import { loadBinding } from '../engine/binding';
import { errnoCode } from '../engine/errno';
import { readText } from './read-text';

export type PidOwner =
  /** there is no such file, or an empty one, or (stale) the manager that wrote it has gone */
  | { readonly kind: 'nobody'; readonly stale: boolean }
  /** `pid` is null for the moment between the lock and the first write */
  | { readonly kind: 'manager'; readonly pid: number | null }
  /** locked by a process that the file does not name: no manager */
  | { readonly kind: 'foreign'; readonly holder: number };

/** Processes that start later than that after a file was written are not those that wrote it. */
const CLOCK_SLACK_MS = 2_000;
/** USER_HZ, in which /proc counts, on every architecture of Linux that Node runs on. */
const TICK_MS = 10;

/** Throws what openSync throws, except that a missing file is nobody's. */
export function pidOwner(path: string): PidOwner {
  const { binding } = loadBinding();
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'nobody', stale: false };
    throw error;
  }
  try {
    const pid = readPid(path);
    if (binding === null) {
      return pid !== null && isManager(pid, path)
        ? { kind: 'manager', pid }
        : { kind: 'nobody', stale: pid !== null };
    }
    // For a moment only; a manager that starts just now tries again.
    const locked = binding.flock(fd, 'sh', false);
    if (locked >= 0) return { kind: 'nobody', stale: pid !== null };
    if (errnoCode(locked) !== 'EAGAIN') throw new Error(`flock: ${errnoCode(locked)}`);
    const holder = strangerWithLock(statSync(path), pid);
    return holder === null ? { kind: 'manager', pid } : { kind: 'foreign', holder };
  } finally {
    closeSync(fd);
  }
}

/** The pid in a file; null where there is none. */
export function readPid(path: string): number | null {
  try {
    const [, digits] = /^(\d{1,10})\s*$/.exec(readFileSync(path, 'utf8')) ?? [];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null;
  }
}

/** The process that holds the file's lock where that is known not to be `pid`; proc_locks(5). */
function strangerWithLock({ dev, ino }: Stats, pid: number | null): number | null {
  if (pid === null) return null;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  const device = `${hex((dev >>> 8) & 0xfff)}:${hex(minor)}`;
  let stranger: number | null = null;
  for (const line of readText('/proc/locks').split('\n')) {
    const [, holder, on, inode] = /: FLOCK +\S+ +\S+ +(\d+) (\S+):(\d+) /.exec(line) ?? [];
    if (inode !== String(ino)) continue;
    if (Number(holder) === pid) return null;
    // Some file systems tell another device to stat(2) than here: then nothing is known.
    if (on === device) stranger = Number(holder);
  }
  return stranger;
}

const hex = (number: number): string => number.toString(16).padStart(2, '0');

/** Whether another process of that pid lives which may have written the file. */
export function isManager(pid: number, path: string): boolean {
  return pid !== process.pid && isAlive(pid) && !isReused(pid, path);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  // A zombie has ended, and waits for its parent.
  return !/\) [ZX] /.test(readText(`/proc/${pid}/stat`));
}

/** Started after the file was written, and no program of prefork's: both, since clocks are set and programs embed a manager. */
function isReused(pid: number, path: string): boolean {
  const command = readText(`/proc/${pid}/cmdline`);
  if (command === '' || /prefork|start[_-]server/.test(command)) return false;
  const ageMs = processAgeMs(pid);
  return ageMs !== null && ageMs < Date.now() - statSync(path).mtimeMs - CLOCK_SLACK_MS;
}

/** Milliseconds since that process was started, proc(5); null where that is not told. */
export function processAgeMs(pid: number | 'self'): number | null {
  // After the name, which may hold anything, the state is the third field and the start the 22nd.
  const fields = readText(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  const startedMs = Number(fields[19]) * TICK_MS;
  const upMs = Number(readText('/proc/uptime').split(' ')[0]) * 1000;
  return startedMs > 0 && upMs > 0 ? Math.max(0, upMs - startedMs) : null;
}
