/** The log file was renamed: this worker's output goes on in the new one. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { loadBinding } from '../engine/binding';
import type { ManagerMessage } from './protocol';

type Order = Extract<ManagerMessage, { type: 'reopenLogs' }>;

/**
 * `received`: the new file, where the engine passes descriptors. Without the addon there is no dup2(2): then console and
 * the streams of `process` go on in the new file, and what is written past them (to the numbers 1 and 2) in the old one.
 */
export function takeNewLog({ outputs, file }: Order, received: number | undefined): void {
  const fd = received ?? openAgain(outputs, file);
  if (fd === null) return;
  const { binding } = loadBinding();
  // What the program has put there itself stays.
  const redirected = outputs.filter(isFile);
  if (binding === null) redirectStreams(redirected, fd);
  else {
    for (const output of redirected) binding.dup2(fd, output);
    closeSync(fd);
  }
}

function openAgain(outputs: readonly number[], file: string | null): number | null {
  if (outputs.length === 0 || file === null) return null;
  try {
    return openSync(file, 'a');
  } catch (error) {
    process.stderr.write(`prefork: the old log file is kept: ${(error as Error).message}\n`);
    return null;
  }
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** That opened for the time before is closed. */
let former: number | null = null;

function redirectStreams(outputs: readonly number[], fd: number): void {
  for (const output of outputs) {
    const stream = output === 1 ? process.stdout : process.stderr;
    (stream as { fd: number }).fd = fd;
  }
  if (former !== null) closeSync(former);
  former = fd;
}
