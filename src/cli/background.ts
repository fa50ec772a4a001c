/** Starts a manager in the background and tells the terminal how that went. */
import { startDaemon } from '../control/daemon';
import { controlPath } from '../control/locate';
import { exitCodes } from '../errors';
import type { RunOptions } from '../options/load';
import { describeStart, ProgressLine, withProgress } from './progress';
import { plainText } from './service-options';

/** Resolves when the first generation is ready (0), or to the exit code of the manager that gave up. */
export async function startInBackground(options: RunOptions): Promise<number> {
  const outcome = await withProgress(new ProgressLine(), controlPath(options), describeStart, () =>
    startDaemon(options),
  );
  if (outcome.ready) {
    process.stdout.write(`prefork: ${plainText(outcome.message)}\n`);
    return exitCodes.ok;
  }
  process.stderr.write(`prefork: cannot start: ${plainText(outcome.reason)}\n`);
  process.stderr.write(`prefork: the log is ${options.logFile}\n`);
  return outcome.exitCode;
}
