/** What `createManager()` is given, and its way into the options of `prefork run`. */
import { preforkError } from '../errors';
import { duration } from '../options/kinds';
import type { Invocation } from '../options/load';
import { checkValue } from '../options/sources';
import type { ManagerOptions } from './create-manager';

const DEFAULT_HOOK_TIMEOUT = '10s';

export interface CheckedManagerOptions {
  readonly invocation: Invocation;
  readonly hookTimeoutMs: number;
}

/** Throws a PreforkError; what is in `prefork run` too is checked with it, when the manager starts. */
export function checkManagerOptions(options: ManagerOptions): CheckedManagerOptions {
  const { entry, args = [], hookTimeout = DEFAULT_HOOK_TIMEOUT, trapSignals, ...run } = options;
  if (typeof entry !== 'string' || entry === '') {
    throw preforkError('ERR_PREFORK_ENTRY', {
      entry: String(entry),
      problem: 'createManager() needs a file',
    });
  }
  if (run.daemonize) {
    const problem = 'daemonize of createManager() is for a process of its own: see daemon()';
    throw preforkError('ERR_PREFORK_OPTION_CONFLICT', { problem });
  }
  // Without a word about signals they are the program's.
  const signals =
    trapSignals === undefined && run.signals !== undefined ? {} : { trapSignals: trapSignals ?? {} };
  return {
    invocation: {
      given: {},
      entry,
      args: args.map(String),
      cwd: process.cwd(),
      embedded: { ...run, ...signals },
    },
    hookTimeoutMs: checkValue(duration(), hookTimeout, 'hookTimeout of createManager()'),
  };
}
