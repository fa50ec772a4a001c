/**
 * The pid file: `pid\n`, held with flock(2) for as long as the manager lives, so that a dead manager's file is told
 * from a live one's whatever process has that pid by now. Without flock (js engine) the process is looked up instead.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { preforkError } from '../errors';
import { loadBinding } from '../engine/binding';

const MAX_TRIES = 10;

export class PidFile {
  readonly path: string;
  /** the open, locked descriptor */
  readonly fd: number;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /**
   * Opens, locks and claims the file; writes nothing yet.
   * @throws PreforkError ERR_PREFORK_ALREADY_RUNNING where a manager that lives holds it
   */
  static claim(path: string): PidFile {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const fd = openSync(path, 'a+', 0o644);
      if (!isFree(fd, path)) {
        const pid = readPid(path) ?? 0;
        closeSync(fd);
        throw preforkError('ERR_PREFORK_ALREADY_RUNNING', { pidFile: path, pid });
      }
      // The former owner may have removed the file between our open and our lock.
      if (sameFile(fd, path)) return new PidFile(path, fd);
      closeSync(fd);
    }
    throw preforkError('ERR_PREFORK_ALREADY_RUNNING', { pidFile: path, pid: readPid(path) ?? 0 });
  }

  /** One that this process claimed before it replaced itself: the lock is the open descriptor's. */
  static takeOver(path: string, fd: number): PidFile {
    return new PidFile(path, fd);
  }

  write(pid: number): void {
    ftruncateSync(this.fd);
    writeSync(this.fd, `${pid}\n`);
  }

  /** Removes the file, if it is still ours, and lets it go. */
  release(): void {
    if (sameFile(this.fd, this.path)) unlinkSync(this.path);
    closeSync(this.fd);
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

function isFree(fd: number, path: string): boolean {
  const { binding } = loadBinding();
  if (binding) return binding.flock(fd, 'ex', false) >= 0;
  const pid = readPid(path);
  return pid === null || pid === process.pid || !isAlive(pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function sameFile(fd: number, path: string): boolean {
  const open = fstatSync(fd);
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.dev === open.dev && named.ino === open.ino;
}
