/** The command that reloads what is checked: run as given, without a shell, its output passed on to standard error. */
import { spawn } from 'node:child_process';
import { describeErrno } from '../errors';

export interface CommandRun {
  /** null: it ended by a signal, or could not be started */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly ms: number;
  /** why it counts as failed, in words; null: it ended with 0 */
  readonly problem: string | null;
  /** it is not there, or not executable: no use in trying again */
  readonly isMissing: boolean;
}

const STANDARD_ERROR = 2;

/** Runs it to its end; kills it (KILL) at `timeoutMs` or when `signal` aborts. */
export function runCommand(
  [file = '', ...args]: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CommandRun> {
  const begunMs = performance.now();
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ['ignore', STANDARD_ERROR, STANDARD_ERROR],
    });
    const kill = (): void => {
      child.kill('SIGKILL');
    };
    // spawn()'s own `timeout` would keep this process alive where the command could not be started.
    const timer = setTimeout(kill, timeoutMs);
    signal.addEventListener('abort', kill);
    const ended = (end: Omit<CommandRun, 'ms'>): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', kill);
      resolve({ ...end, ms: Math.round(performance.now() - begunMs) });
    };
    child.once('error', (error) => {
      if (child.pid === undefined)
        ended({ code: null, signal: null, problem: describeErrno(error), isMissing: true });
    });
    child.once('exit', (code, endSignal) => {
      const late = endSignal === 'SIGKILL' && performance.now() - begunMs >= timeoutMs;
      const problem =
        code === 0
          ? null
          : late
            ? `it did not end within ${timeoutMs} ms`
            : endSignal === null
              ? `it ended with exit code ${code}`
              : `it was ended by ${endSignal}`;
      ended({ code, signal: endSignal, problem, isMissing: false });
    });
  });
}
