/** What the commands for a running service have in common: how it is named, and how their own durations are read. */
import { type Command, Option } from 'commander';
import { preforkError } from '../errors';
import { parseDuration } from '../options/duration';
import type { ServicePaths } from '../options/load';
import type { OptionName } from '../options/schema';
import { addRunOptions, givenOptions } from './run-options';

const NAMING: readonly OptionName[] = ['pidFile', 'control', 'chdir', 'config'];

/** Adds `--pid-file`, `--control` and where else they may stand. */
export function addServiceOptions(command: Command): Command {
  addRunOptions(command, NAMING);
  return command.addHelpOption(new Option('-h, --help', 'print this help').helpGroup('Configuration:'));
}

/** Where the service is found. Throws `ERR_PREFORK_USAGE` where nothing names it. */
export async function servicePaths(command: Command): Promise<ServicePaths> {
  const { loadServicePaths, logicalCwd } = require('../options/load') as typeof import('../options/load');
  const paths = await loadServicePaths({ given: givenOptions(command), cwd: logicalCwd() });
  if (paths.pidFile === null && paths.control === null) {
    throw preforkError('ERR_PREFORK_USAGE', {
      problem: `which service? Name it by --pid-file or --control (see prefork help ${command.name()})`,
    });
  }
  return paths;
}

/** How a service is called in messages. */
export function serviceName({ pidFile, control }: ServicePaths): string {
  return pidFile ?? control ?? 'service';
}

/** An option of a command's own that is a duration. */
export function durationOption(flags: string, description: string, usual: string): Option {
  const parse = (text: string): number => {
    const result = parseDuration(text);
    if (result.ok) return result.value;
    const problem = `${flags.split(' ')[0]}: '${text}' ${result.reason}; expected a duration such as 30s`;
    throw preforkError('ERR_PREFORK_USAGE', { problem });
  };
  return new Option(flags, description).argParser(parse).default(parse(usual), usual);
}

/** Text of a worker for the terminal: lines are kept, what would move the cursor or change colours is not. */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '').trimEnd();
}
