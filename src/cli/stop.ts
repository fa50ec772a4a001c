/** `prefork stop`: ends a running manager and waits for it. */
import type { Command } from 'commander';
import { exitCodes, preforkError } from '../errors';
import type { ServicePaths } from '../options/load';
import { addServiceOptions, durationOption, serviceName, servicePaths } from './service-options';

const AFTER_HELP = `
It is asked over the control socket, or, where there is none, by TERM. A service that does not run is
stopped already.

Exit codes:
  0           it has stopped, or did not run
  1           it did not stop within --timeout, or cannot be found out
  4           no permission

Example:
  prefork stop --pid-file /run/app.pid`;

export interface StopFlags {
  readonly timeout: number;
  readonly now?: boolean;
}

/** LSB: the user has not the right. */
const EXIT_NO_PERMISSION = 4;

/** Adds the command to `program`. */
export function addStop(program: Command): void {
  const stop = addServiceOptions(addStopOptions(program.command('stop')))
    .summary('stop the service and wait until it has gone')
    .description('Stops the service: its workers finish what is in flight, then it ends.')
    .addHelpText('after', AFTER_HELP)
    .action(async (flags: StopFlags) => {
      process.exitCode = await stopService(await servicePaths(stop), flags);
    });
}

/** `--timeout` and `--now`. */
export function addStopOptions(command: Command): Command {
  return command
    .addOption(durationOption('--timeout <time>', 'how long to wait for its end', '60s'))
    .option('--now', 'kill the workers instead of letting them finish');
}

/** Resolves to the exit code; what happened has been printed. Throws a PreforkError. */
export async function stopService(paths: ServicePaths, { timeout, now }: StopFlags): Promise<number> {
  const { findManager } = require('../control/find') as typeof import('../control/find');
  const { stopManager } = require('../control/stop') as typeof import('../control/stop');
  const { controlPath } = require('../control/locate') as typeof import('../control/locate');
  const { describeStop, ProgressLine, withProgress } = require('./progress') as typeof import('./progress');
  const service = serviceName(paths);
  const found = await findManager(paths);
  if (found.state === 'unknown') {
    throw preforkError('ERR_PREFORK_UNREACHABLE', { service, problem: found.problem });
  }
  if (found.state === 'stopped') {
    process.stdout.write(`prefork: not running (${service})\n`);
    return exitCodes.ok;
  }
  try {
    const stop = () => stopManager(found, paths, { graceful: now !== true, timeoutMs: timeout });
    await withProgress(new ProgressLine(), controlPath(paths), describeStop, stop);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    process.stderr.write(`prefork: not permitted to stop process ${found.pid} (${service})\n`);
    return EXIT_NO_PERMISSION;
  } finally {
    found.client?.close();
  }
  process.stdout.write(`prefork: manager ${found.pid} has stopped\n`);
  return exitCodes.ok;
}
