/** Where `--log-file` leads: a file that is appended to, or the standard input of a command (`| command`). */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isExecutable } from './executable';
import { fileError, systemError } from './system-errors';

/** Opens it. Returns a descriptor to write to. @throws StarterExit, with the errno, where it cannot be opened */
export function openLogTarget(target: string): number {
  const command = /^\s*\|\s*(.*)$/s.exec(target)?.[1];
  if (command === undefined) return openFile(target);
  checkCommand(target, command);
  return pipeTo(command);
}

function openFile(path: string): number {
  try {
    return openSync(path, 'a', 0o666);
  } catch (error) {
    throw fileError(error, `failed to open log file:${path}: `);
  }
}

/** A command without anything for a shell to do can be looked up before it is needed. */
function checkCommand(target: string, command: string): void {
  if (/[$&*(){}[\]'";\\|?<>~`\n=]/.test(command)) return;
  const file = command.trim().split(/\s+/, 1)[0] ?? '';
  if (!isExecutable(file, process.env.PATH)) throw systemError('ENOENT', `failed to open pipe:${target}: `);
}

/**
 * A pipe to a shell's standard input. Of a child's own, libuv would make a socket, which cannot be opened as
 * /dev/stderr; a FIFO that nobody else has seen is a pipe.
 */
function pipeTo(command: string): number {
  const directory = mkdtempSync(join(tmpdir(), 'start_server-'));
  const fifo = join(directory, 'log');
  try {
    execFileSync('mkfifo', ['-m', '600', fifo]);
    // Open at both ends, so that neither of the next two waits for the other.
    const both = openSync(fifo, 'r+');
    const readEnd = openSync(fifo, 'r');
    const writeEnd = openSync(fifo, 'w');
    closeSync(both);
    spawn('/bin/sh', ['-c', command], { stdio: [readEnd, 1, 2] }).unref();
    closeSync(readEnd);
    return writeEnd;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
