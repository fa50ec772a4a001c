/** `prefork top`: the workers of a service, live. */
import type { Command } from 'commander';
import { exitCodes, preforkError, signalExitCode } from '../errors';
import { askManager } from './ask';
import { addServiceOptions, durationOption, servicePaths } from './service-options';

const AFTER_HELP = `
Sorted and filtered by key: h shows the keys, q quits. Into a pipe, and on a terminal that can show no
changing picture (TERM=dumb), the table is printed once, with the requests of one --delay.

Exit codes:
  0           quit, or printed
  1           the manager cannot be asked
  7           the service does not run
  128 + n     ended by signal n

Example:
  prefork top --pid-file /run/app.pid`;

/** Oftener would be of no use to the eye, and near what the control socket allows. */
const MIN_DELAY_MS = 200;

/** Adds the command to `program`. */
export function addTop(program: Command): void {
  const top = addServiceOptions(program.command('top'))
    .summary('show the workers, live')
    .description(
      'Shows the workers of a running service in a table that is kept up: state, requests, load, memory, and how the last one in each slot ended.',
    )
    .addOption(
      durationOption('-d, --delay <time>', `from one look to the next, ${MIN_DELAY_MS}ms or more`, '1s'),
    )
    .addHelpText('after', AFTER_HELP)
    .action(async ({ delay }: { delay: number }) => {
      process.exitCode = await runTop(top, delay);
    });
}

async function runTop(command: Command, delayMs: number): Promise<number> {
  if (delayMs < MIN_DELAY_MS) {
    throw preforkError('ERR_PREFORK_USAGE', { problem: `--delay: at least ${MIN_DELAY_MS}ms` });
  }
  const { controlPath } = require('../control/locate') as typeof import('../control/locate');
  const { hasScreen, printOnce, showTop } = require('../top/top') as typeof import('../top/top');
  const paths = await servicePaths(command);
  // Says in one line why not, before the screen is taken over.
  await askManager(paths, async () => {});
  const path = controlPath(paths)!;
  if (!hasScreen()) {
    await printOnce(path, delayMs);
    return exitCodes.ok;
  }
  const signal = await showTop(path, delayMs);
  return signal === null ? exitCodes.ok : signalExitCode(signal);
}
