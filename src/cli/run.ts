/** `prefork run`: the main job, in the foreground. */
import { type Command, Option } from 'commander';
import { PreforkError } from '../errors';
import { addRunOptions, givenOptions } from './run-options';

const AFTER_HELP = `
Times are seconds, or have a unit: 500ms, 10s, 5m, 1h. An option may also stand
in the configuration file, in camelCase (readyTimeout), or in a variable
(PREFORK_READY_TIMEOUT); the command line wins, then the file.

Signals to the manager:
  TERM, QUIT  finish what is in flight, then stop; a second TERM stops at once
  INT         the same (Ctrl-C); a second one stops at once
  HUP         reload: new workers from the code of now, then the old ones end
  USR1        reopen the log file
  USR2        replace the manager itself; sockets and workers are kept
  TTIN, TTOU  one worker more, one fewer

Exit codes:
  0           stopped as asked
  1           unusable options or configuration; nothing was started
  3           no worker ever became ready
  4           an address could not be listened on at the first start
  128 + n     ended by signal n

Examples:
  prefork run -w 4 -b 127.0.0.1:3000 server.js
  prefork run -w auto -b 80 -b '[::1]:8080' --user www-data main.js --verbose
  prefork run --ready message --pid-file /run/queue.pid consumer.js
  prefork run --chdir /srv/app/current --config /etc/app/prefork.json server.js`;

/** Adds the command to `program`. */
export function addRun(program: Command): void {
  const run = program
    .command('run')
    .summary('run a program in worker processes, in the foreground')
    .description(
      'Runs <entry> in worker processes and keeps them serving. What follows the entry is passed to it.',
    )
    .argument(
      '<entry>',
      'the program, as node takes it: a file, or a directory with a package.json or index.js',
    )
    .argument('[args...]', 'arguments of the program')
    .passThroughOptions()
    .addHelpOption(new Option('-h, --help', 'print this help').helpGroup('Configuration:'))
    .addHelpText('after', AFTER_HELP)
    .action(async (entry: string, args: string[]) => {
      process.exitCode = await startRun(run, entry, args);
    });
  addRunOptions(run);
}

async function startRun(run: Command, entry: string, args: readonly string[]): Promise<number> {
  const { loadRunOptions, logicalCwd } = require('../options/load') as typeof import('../options/load');
  const invocation = { given: givenOptions(run), entry, args, cwd: logicalCwd() };
  const { StartReport } = require('../control/start-report') as typeof import('../control/start-report');
  const report = StartReport.fromEnvironment();
  const options = await loadRunOptions(invocation);
  if (options instanceof PreforkError) {
    report?.failed(options.exitCode, options.line);
    throw options;
  }
  if (options.daemonize && report === null) {
    const { startInBackground } = require('./background') as typeof import('./background');
    return startInBackground(options);
  }
  const { runManager } = require('../manager/run') as typeof import('../manager/run');
  return runManager(options, report);
}
