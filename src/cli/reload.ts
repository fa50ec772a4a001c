/** `prefork reload`: a new generation, and the truth about it. */
import type { Command } from 'commander';
import { exitCodes } from '../errors';
import { askManager } from './ask';
import { addServiceOptions, plainText, servicePaths } from './service-options';

const AFTER_HELP = `
The old workers go on serving until the new ones are ready, and for good where these fail. Options,
configuration and entry are read again. HUP does the same, and says nothing.

Exit codes:
  0           the new generation serves
  1           it failed, for the reason that is printed; the old one serves as before
  7           the service does not run

Example:
  prefork reload --pid-file /run/app.pid`;

/** Adds the command to `program`. */
export function addReload(program: Command): void {
  const reload = addServiceOptions(program.command('reload'))
    .summary('replace the workers by new ones that run the code of now')
    .description('Replaces the workers by a new generation, and waits until it serves or has failed.')
    .option('-q, --quiet', 'say nothing unless it fails')
    .addHelpText('after', AFTER_HELP)
    .action(async ({ quiet }: { quiet?: boolean }) => {
      process.exitCode = await reloadService(reload, quiet === true);
    });
}

async function reloadService(command: Command, quiet: boolean): Promise<number> {
  const { controlPath } = require('../control/locate') as typeof import('../control/locate');
  const { RefusedError } = require('../control/client') as typeof import('../control/client');
  const { describeReload, ProgressLine, withProgress } = require('./progress') as typeof import('./progress');
  const line = new ProgressLine();
  const say = (text: string): void => {
    if (quiet) return;
    line.clear();
    process.stdout.write(`prefork: ${plainText(text)}\n`);
  };
  try {
    const paths = await servicePaths(command);
    const reload = (): Promise<{ generation: number }> =>
      askManager(paths, (client) => client.ask({ do: 'reload' }, { progress: say, timeoutMs: null }));
    const { generation } = quiet
      ? await reload()
      : await withProgress(line, controlPath(paths), describeReload, reload);
    say(`reloaded: generation ${generation} serves`);
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    process.stderr.write(`prefork: reload failed: ${plainText(error.message)}\n`);
    return exitCodes.unusable;
  }
}
