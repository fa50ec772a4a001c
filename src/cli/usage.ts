/** What was wrong with a command line, in one line. */
import { existsSync } from 'node:fs';
import type { Command, CommanderError } from 'commander';
import { preforkError } from '../errors';
import { nearest } from '../options/nearest';
import { foreignHint } from './foreign';

/** `prefork help nonsense` is refused; commander prints the general help for it. */
export function checkHelpTopic(program: Command, [command, topic]: readonly string[]): void {
  const topics = program.commands.map((candidate) => candidate.name());
  if (command === 'help' && topic !== undefined && ![...topics, 'help'].includes(topic)) {
    const near = nearest(topic, topics);
    const hint = foreignHint(topic) ?? (near && `did you mean ${near}?`);
    const problem = `unknown command '${topic}'${hint ? `; ${hint}` : ''} (see prefork --help)`;
    throw preforkError('ERR_PREFORK_USAGE', { problem });
  }
}

/** Turns commander's message into ours, and says what was most likely meant. */
export function usageProblem(error: CommanderError, program: Command, argv: readonly string[]): string {
  const [message, suggestion] = error.message.replace(/^error: /, '').split('\n', 2);
  const near = /\(Did you mean (.*)\?\)/.exec(suggestion ?? '')?.[1];
  const [, word = ''] = /^unknown (?:command|option) '([^'=]+)/.exec(message ?? '') ?? [];
  const meant = near ?? forgottenRun(error, program, argv);
  // The options of check are like those of clients.
  const foreign = argv[0] === 'check' ? null : foreignHint(word);
  const hint = foreign ?? (meant && `did you mean ${meant}?`);
  return `${message}${hint ? `; ${hint}` : ''} (see ${helpCommand(program, argv)})`;
}

/** `prefork server.js` and `prefork -w 4 server.js` lack the word run. */
function forgottenRun(error: CommanderError, program: Command, argv: readonly string[]): string | null {
  const first = argv[0] ?? '';
  const isProgram = /\.[mc]?[jt]s$/.test(first) || (first.includes('/') && existsSync(first));
  const run = program.commands.find((command) => command.name() === 'run');
  const flag = first.split('=', 1)[0]!;
  const isRunOption = run?.options.some(
    (option) => flag === option.long || flag.slice(0, 2) === option.short,
  );
  const lacksRun =
    (error.code === 'commander.unknownCommand' && isProgram) ||
    (error.code === 'commander.unknownOption' && isRunOption);
  return lacksRun ? `prefork run ${argv.join(' ')}` : null;
}

function helpCommand(program: Command, argv: readonly string[]): string {
  const command = program.commands.find((candidate) => candidate.name() === argv[0]);
  return command ? `prefork help ${command.name()}` : 'prefork --help';
}
