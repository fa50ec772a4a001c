#!/usr/bin/env node
/** The `start_server` command: Server::Starter's superdaemon. */
import type { Command } from 'commander';
import { StarterExit } from '../starter/exit';
import { parseCommandLine, type Request } from '../starter/options';

/** The version of Server::Starter whose interface this is: scripts ask for it. */
const COMPATIBLE_WITH = '0.35';

/** Runs the command line and resolves to the exit code. Whatever goes wrong is told on standard error. */
export async function startServer(argv: readonly string[]): Promise<number> {
  const say = (line: string): void => {
    process.stderr.write(`${line}\n`);
  };
  try {
    return await perform(parseCommandLine(argv, process.env.POSIXLY_CORRECT !== undefined), say);
  } catch (error) {
    if (!(error instanceof StarterExit)) throw error;
    say(error.message);
    return error.exitCode;
  }
}

// Each part is loaded when it is wanted: a command that only looks is done at once.
async function perform(request: Request, say: (line: string) => void): Promise<number> {
  switch (request.do) {
    case 'help': {
      const { helpText } = require('../starter/help') as typeof import('../starter/help');
      process.stdout.write(helpText);
      return 0;
    }
    case 'version': {
      const { version } = require('./version') as typeof import('./version');
      process.stdout.write(`${COMPATIBLE_WITH} (prefork ${version()})\n`);
      return 0;
    }
    case 'restart': {
      const { restartServer } = require('../starter/restart') as typeof import('../starter/restart');
      await restartServer(request);
      return 0;
    }
    case 'stop': {
      const { stopServer } = require('../starter/stop') as typeof import('../starter/stop');
      await stopServer(request.pidFile, say);
      return 0;
    }
    case 'run': {
      const { runStarter } = require('../starter/starter') as typeof import('../starter/starter');
      return runStarter(request.options);
    }
  }
}

/** Puts the command into the help of `prefork`. */
export function addStartServer(program: Command): void {
  program
    .command('start-server')
    .usage('[options] -- <program> [args...]')
    .summary('keep any program running on sockets, as start_server does')
    .description(
      "Server::Starter's superdaemon, by its usual name start_server; prefork start-server --help tells of its options.",
    )
    .helpOption(false);
}

if (require.main === module) {
  void startServer(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });
}
