/** USR1, after logrotate moved the log file. */
import { fstatSync } from 'node:fs';
import { loadBinding } from '../engine/binding';
import type { Log } from './log';

const OUTPUTS = [1, 2];

/** Opens the log by its name again; where this process's own output went to the old file, it goes to the new one too. */
export function reopenLog(log: Log): void {
  const old = fstatSync(log.fd);
  const redirected = OUTPUTS.filter((fd) => fd !== log.fd && isFile(fd, old));
  log.reopen();
  const { binding } = loadBinding();
  for (const fd of redirected) binding?.dup2(log.fd, fd);
}

function isFile(fd: number, file: { dev: number; ino: number }): boolean {
  try {
    const { dev, ino } = fstatSync(fd);
    return dev === file.dev && ino === file.ino;
  } catch {
    return false;
  }
}
