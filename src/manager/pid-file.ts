/**
 * The pid file: `pid\n`, held with flock(2) for as long as the manager lives, so that a dead manager's file is told
 * from a live one's whatever process has that pid by now. Without flock (no addon) the pid itself is the claim, and the
 * process is looked up.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { type Binding, loadBinding } from '../engine/binding';
import { preforkError } from '../errors';
import { isManager, readPid } from './pid-owner';

const MAX_TRIES = 10;
/** Somebody who looks whether the file is locked holds it for microseconds. */
const LOCK_TRIES = 5;
const LOCK_PAUSE_MS = 5;
const MODE = 0o644;

export class PidFile {
  readonly path: string;
  /** the open (and, with the addon, locked) descriptor */
  readonly fd: number;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /**
   * Claims the file. With the addon it is locked and empty until {@link write}.
   * @throws PreforkError ERR_PREFORK_ALREADY_RUNNING where a manager that lives holds it; else what openSync throws
   */
  static claim(path: string): PidFile {
    const { binding } = loadBinding();
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const fd = binding === null ? claimByName(path) : claimByLock(path, binding);
      if (fd !== null) return new PidFile(path, fd);
    }
    throw alreadyRunning(path);
  }

  /** One that this process claimed before it replaced itself: the lock is the open descriptor's. */
  static takeOver(path: string, fd: number): PidFile {
    return new PidFile(path, fd);
  }

  write(pid: number): void {
    ftruncateSync(this.fd);
    writeSync(this.fd, `${pid}\n`, 0);
  }

  /** Removes the file, if it is still ours, and lets it go. Who has given up the right to remove it empties it. */
  release(): void {
    try {
      if (sameFile(this.fd, this.path)) unlinkSync(this.path);
    } catch {
      ftruncateSync(this.fd);
    }
    closeSync(this.fd);
  }
}

/** null: the former owner removed the file between our open and our lock. */
function claimByLock(path: string, binding: Binding): number | null {
  const fd = openSync(path, 'a+', MODE);
  if (!lock(fd, binding)) {
    closeSync(fd);
    throw alreadyRunning(path);
  }
  if (sameFile(fd, path)) {
    // What a manager that was killed left says nothing any more.
    ftruncateSync(fd);
    return fd;
  }
  closeSync(fd);
  return null;
}

function lock(fd: number, binding: Binding): boolean {
  for (let tries = 1; binding.flock(fd, 'ex', false) < 0; tries++) {
    if (tries === LOCK_TRIES) return false;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_PAUSE_MS);
  }
  return true;
}

/** Made by one only, O_EXCL. null: what stood there was stale, and is gone now. */
function claimByName(path: string): number | null {
  try {
    const fd = openSync(path, 'wx+', MODE);
    writeSync(fd, `${process.pid}\n`);
    return fd;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const pid = readPid(path);
  if (pid !== null && isManager(pid, path)) throw alreadyRunning(path);
  removeStale(path, pid);
  return null;
}

/** Moved aside before it is removed: where another who starts was faster, that one's file goes back. */
function removeStale(path: string, pid: number | null): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const taken = readPid(aside) !== pid;
  if (taken) linkSync(aside, path);
  unlinkSync(aside);
  if (taken) throw alreadyRunning(path);
}

const alreadyRunning = (path: string): Error =>
  preforkError('ERR_PREFORK_ALREADY_RUNNING', { pidFile: path, pid: readPid(path) ?? 0 });

function sameFile(fd: number, path: string): boolean {
  const open = fstatSync(fd);
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.dev === open.dev && named.ino === open.ino;
}
