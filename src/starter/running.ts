/** The `start_server` that a pid file tells of, for `--restart` and `--stop`. */
import { openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadBinding } from '../engine/binding';
import { StarterExit, starterExit } from './exit';
import { fileError, systemError } from './system-errors';
import { readText } from './status';

/** @throws StarterExit 2 where there is no such file, 255 where it names no process */
export function pidIn(path: string): number {
  const text = readText(path);
  const pid = Number(/^\s*([0-9]{1,10})\s*$/.exec(text)?.[1]);
  if (!(pid > 1)) throw new StarterExit(starterExit.unusable, `there is no process id in ${path}`);
  return pid;
}

/** @throws StarterExit, with the errno, where it cannot be sent */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    throw fileError(error, `failed to send ${signal} to the server process ${pid}:`);
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The descriptor of the pid file; a process that holds it can be waited for after the file's name has gone. */
export function openPidFile(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw fileError(error, `failed to open file:${path}:`);
  }
}

/** Between two looks. A waiting flock(2) would keep this process from hearing signals. */
const POLL_MS = 20;

/** Waits until the lock of the pid file is free (without the addon: until that process has gone). */
export async function waitForEnd(fd: number, pid: number): Promise<void> {
  const { binding } = loadBinding();
  for (;;) {
    if (binding === null) {
      if (!isAlive(pid)) return;
    } else {
      const result = binding.flock(fd, 'ex', false);
      if (result >= 0) return;
      if (result !== -11) throw systemError('EIO', 'failed to lock the pid file:');
    }
    await sleep(POLL_MS);
  }
}
