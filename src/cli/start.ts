/** `prefork start`: `run` in the background. */
import { type Command, Option } from 'commander';
import { PreforkError } from '../errors';
import type { RunOptions } from '../options/load';
import { addRunOptions, givenOptions } from './run-options';

const AFTER_HELP = `
The options are those of prefork run; --log-file is needed. start returns when all first workers are
ready, or says why they are not. The other commands find the service by --pid-file, --control or the
configuration file; beside /run/app.pid, the control socket is /run/app.control.

Exit codes:
  0           the first workers are ready
  1           unusable options or configuration; a manager runs already; stopped meanwhile
  3           no worker became ready: its last words are printed
  4           an address could not be listened on

Example:
  prefork start --pid-file /run/app.pid --log-file /var/log/app.log -w 4 -b 3000 server.js`;

/** Adds the command to `program`. */
export function addStart(program: Command): void {
  const start = addEntryCommand(program, 'start')
    .summary('start a program in the background')
    .description('Runs <entry> as prefork run does, in the background, and waits until it is ready.')
    .addHelpText('after', AFTER_HELP)
    .action(async (entry: string, args: string[]) => {
      const options = await loadOptions(start, entry, args);
      const { startInBackground } = require('./background') as typeof import('./background');
      process.exitCode = await startInBackground(options);
    });
}

/** A command that takes what `run` takes. */
export function addEntryCommand(program: Command, name: string): Command {
  const command = program
    .command(name)
    .argument('<entry>', 'the program, as node takes it')
    .argument('[args...]', 'arguments of the program')
    .passThroughOptions()
    .addHelpOption(new Option('-h, --help', 'print this help').helpGroup('Configuration:'));
  addRunOptions(command);
  return command;
}

/** The checked options of such a command. Throws a {@link PreforkError}. */
export async function loadOptions(
  command: Command,
  entry: string,
  args: readonly string[],
): Promise<RunOptions> {
  const { loadRunOptions, logicalCwd } = require('../options/load') as typeof import('../options/load');
  const invocation = { given: givenOptions(command), entry, args, cwd: logicalCwd() };
  const options = await loadRunOptions(invocation);
  if (options instanceof PreforkError) throw options;
  return options;
}
