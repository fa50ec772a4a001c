/** `prefork scale`: another number of workers. */
import type { Command } from 'commander';
import { exitCodes, preforkError } from '../errors';
import { MAX_SCALE } from '../control/protocol';
import { wanted } from '../manager/messages';
import { askManager } from './ask';
import { addServiceOptions, servicePaths } from './service-options';

const AFTER_HELP = `
It holds until a reload finds another --workers in the configuration. TTIN and TTOU do the same, one at a time.
With --max-workers it is the least number: the pool grows to it at once, and shrinks to it as the load allows.

Example:
  prefork scale 8 --pid-file /run/app.pid`;

/** Adds the command to `program`. */
export function addScale(program: Command): void {
  const scale = addServiceOptions(program.command('scale'))
    .summary('change how many workers there are')
    .description('Tells the manager to keep <workers> workers.')
    .argument('<workers>', `from 1 to ${MAX_SCALE}`)
    .addHelpText('after', AFTER_HELP)
    .action(async (text: string) => {
      process.exitCode = await scaleService(scale, text);
    });
}

async function scaleService(command: Command, text: string): Promise<number> {
  const workers = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (workers < 1 || workers > MAX_SCALE) {
    const problem = `'${text}' is no number of workers; expected 1 to ${MAX_SCALE}`;
    throw preforkError('ERR_PREFORK_USAGE', { problem });
  }
  const result = await askManager(await servicePaths(command), (client) =>
    client.ask({ do: 'scale', workers }),
  );
  process.stdout.write(`prefork: ${wanted(result.workers)}\n`);
  return exitCodes.ok;
}
