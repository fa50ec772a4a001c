/** How help looks, the same for every command. */
import type { HelpConfiguration, OutputConfiguration } from 'commander';

/** Lines longer than this are hard to read, however wide the terminal. */
const MAX_COLUMNS = 100;

/** Long flags stand in one column, with or without a short one before them. */
export const helpConfiguration: HelpConfiguration = {
  optionTerm: (option) => (option.short ? option.flags : `    ${option.flags}`),
  subcommandTerm: (command) =>
    [command.name(), command.usage().replace(/^\[options\] ?/, '')].join(' ').trim(),
};

/** Help goes where commander sends it; errors are for `main` to print, in one line. */
export const outputConfiguration: OutputConfiguration = {
  outputError: () => {},
  getOutHelpWidth: () => Math.min(MAX_COLUMNS, process.stdout.columns ?? MAX_COLUMNS),
  getErrHelpWidth: () => Math.min(MAX_COLUMNS, process.stderr.columns ?? MAX_COLUMNS),
};
