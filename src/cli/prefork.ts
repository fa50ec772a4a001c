#!/usr/bin/env node
/** The `prefork` command: one file a subcommand, and one line for whatever goes wrong. */
import { Command, CommanderError } from 'commander';
import { exitCodes, PreforkError, preforkError } from '../errors';
import { takeUpgradeTask } from '../manager/upgrade-environment';
import { addCheck } from './check';
import { addDoctor } from './doctor';
import { helpConfiguration, outputConfiguration } from './help';
import { addReload } from './reload';
import { addRestart } from './restart';
import { addRun } from './run';
import { addScale } from './scale';
import { addStart } from './start';
import { addStartServer, startServer } from './start-server';
import { addStatus } from './status';
import { addStop } from './stop';
import { addTop } from './top';
import { checkHelpTopic, usageProblem } from './usage';
import { version } from './version';

const AFTER_HELP = `
Examples:
  prefork run server.js                 a worker for each CPU, where it listens
  prefork run -w 4 -b 80 server.js -v   what follows the entry is the program's
  prefork run --native -b unix:/run/app.sock server.js
  prefork doctor                        what works on this machine, and what not

Daily commands of pm2 and gunicorn:
  pm2 start               prefork start --pid-file app.pid --log-file app.log …
  pm2 reload | scale      prefork reload | scale 8 --pid-file app.pid
  pm2 restart | stop      prefork restart | stop --pid-file app.pid
  pm2 list | monit        prefork status | top --pid-file app.pid
  pm2 logs                tail -F app.log; --tag-output says which worker
  pm2 startup             a systemd unit with prefork run
  gunicorn -w 4 -b :80    prefork run -w 4 -b 80 server.js
  gunicorn --daemon       prefork start; --pid is --pid-file here
  gunicorn --timeout      --heartbeat-timeout; others keep their names
  gunicorn --reload       node --watch server.js
  HUP USR1 TTIN TTOU      the same; USR2 replaces the manager in one step

prefork help <command> tells all about a command.`;

function makeProgram(): Command {
  const program = new Command('prefork')
    .usage('<command> [options]')
    .description('Keeps worker processes serving on sockets that it owns, whatever happens to one of them.')
    .version(version(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'tell all about a command')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput(outputConfiguration)
    .configureHelp(helpConfiguration)
    .addHelpText('after', AFTER_HELP);
  addRun(program);
  addStart(program);
  addStop(program);
  addRestart(program);
  addReload(program);
  addStatus(program);
  addTop(program);
  addScale(program);
  addStartServer(program);
  addDoctor(program);
  addCheck(program);
  return program;
}

async function main(argv: readonly string[]): Promise<void> {
  // Its options are read in a way of their own.
  if (argv[0] === 'start-server') {
    process.exitCode = await startServer(argv.slice(1));
    return;
  }
  const program = makeProgram();
  try {
    checkHelpTopic(program, argv);
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      fail(error);
    } else if (error.code === 'commander.help' && error.exitCode !== 0) {
      process.exitCode = exitCodes.unusable;
    } else if (error.exitCode !== 0) {
      const code = argv[0] === 'check' ? 'ERR_PREFORK_CHECK_USAGE' : 'ERR_PREFORK_USAGE';
      fail(preforkError(code, { problem: usageProblem(error, program, argv) }));
    }
  }
}

/** One line for what users can change; the stack for what is a mistake of ours. */
function fail(error: unknown): void {
  if (error instanceof PreforkError) {
    process.stderr.write(`prefork: ${error.line}\n`);
    process.exitCode = error.exitCode;
  } else {
    process.stderr.write(
      `prefork: unexpected error: ${error instanceof Error ? error.stack : String(error)}\n`,
    );
    process.exitCode = exitCodes.unusable;
  }
}

/** A manager that replaces itself (USR2) starts its successor by this same command line. */
async function start(): Promise<void> {
  const task = takeUpgradeTask();
  if (task === null) return main(process.argv.slice(2));
  const { runUpgradeTask } = require('../manager/take-over') as typeof import('../manager/take-over');
  process.exitCode = await runUpgradeTask(task);
}

start().catch(fail);
