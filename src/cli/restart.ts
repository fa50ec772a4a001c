/** `prefork restart`: stop, then start. */
import type { Command } from 'commander';
import { exitCodes } from '../errors';
import { addEntryCommand, loadOptions } from './start';
import { addStopOptions, type StopFlags, stopService } from './stop';

const AFTER_HELP = `
Between the two nobody serves: prefork reload replaces the workers, and USR2 the manager itself,
without that. Options, configuration and entry are checked before the service is stopped. One that does
not run is started.

Exit codes: those of start; 1 also where the running manager does not stop within --timeout.

Example:
  prefork restart --pid-file /run/app.pid --log-file /var/log/app.log -w 4 -b 3000 server.js`;

/** Adds the command to `program`. */
export function addRestart(program: Command): void {
  const restart = addStopOptions(addEntryCommand(program, 'restart'))
    .summary('stop the service and start it again')
    .description('Stops the service that runs, if one does, and starts it as prefork start does.')
    .addHelpText('after', AFTER_HELP)
    .action(async (entry: string, args: string[], flags: StopFlags) => {
      process.exitCode = await restartService(restart, entry, args, flags);
    });
}

async function restartService(
  command: Command,
  entry: string,
  args: readonly string[],
  flags: StopFlags,
): Promise<number> {
  const options = await loadOptions(command, entry, args);
  const { checkBackground } = require('../control/daemon') as typeof import('../control/daemon');
  checkBackground(options);
  if (options.pidFile !== null || options.control !== null) {
    const stopped = await stopService(options, flags);
    if (stopped !== exitCodes.ok) return stopped;
  }
  const { startInBackground } = require('./background') as typeof import('./background');
  const code = await startInBackground(options);
  if (code !== exitCodes.ok) process.stderr.write('prefork: the service was stopped, and does not run now\n');
  return code;
}
