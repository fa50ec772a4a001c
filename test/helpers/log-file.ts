/** Follows a log file by its name, over renames. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Far above what anything takes, so that a hang is told from a slow machine. */
const LONG_MS = 150_000;

/** Resolves when a line of the file has it; the file need not be there yet. */
export async function lineIn(file: string, text: string): Promise<string> {
  const tail = spawn('tail', ['-n', '+1', '-F', '-s', '0.05', file], { stdio: ['ignore', 'pipe', 'ignore'] });
  const timer = setTimeout(() => tail.kill(), LONG_MS);
  try {
    for await (const line of createInterface({ input: tail.stdout })) if (line.includes(text)) return line;
  } finally {
    clearTimeout(timer);
    tail.kill();
  }
  throw new Error(`${file} did not have: ${text}`);
}
