/** What `daemon()` is given, checked. */
import { basename, resolve } from 'node:path';
import { preforkError } from '../errors';
import { type Credentials, resolveCredentials } from '../options/credentials';
import { choice, duration, type Kind, nameOrId, word } from '../options/kinds';
import { quote } from '../options/result';
import { checkValue } from '../options/sources';
import type { DaemonOptions } from './daemon';

export interface DaemonSettings {
  readonly name: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly logLevel: NonNullable<DaemonOptions['logLevel']>;
  readonly logFormat: 'pretty' | 'json';
  /** null: as it was started */
  readonly credentials: Credentials | null;
  readonly stopTimeoutMs: number;
  readonly hookTimeoutMs: number;
}

const HOOKS = ['preinit', 'init', 'startup', 'cleanup', 'hangup'] as const;
const LEVELS = choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent');

const where = (name: string): string => `${name} of daemon()`;

/** Throws `ERR_PREFORK_OPTION_VALUE` or `ERR_PREFORK_USER`. */
export function checkDaemonOptions(options: DaemonOptions): DaemonSettings {
  const check = <In, Out>(name: keyof DaemonOptions, kind: Kind<In, Out, string>, byDefault?: In): Out =>
    checkValue(kind, options[name] ?? byDefault, where(name));
  for (const hook of HOOKS) checkHook(hook, options[hook]);
  return {
    name: check('name', word('a name'), basename(process.argv[1] ?? 'daemon').replace(/\.\w+$/, '')),
    pidFile: resolve(check('pidFile', word('a path'))),
    logFile: resolve(check('logFile', word('a path'))),
    logLevel: check('logLevel', LEVELS, 'info'),
    logFormat: check('logFormat', choice('pretty', 'json'), 'json'),
    credentials: credentialsOf(options),
    stopTimeoutMs: check('stopTimeout', duration(1), '10s'),
    hookTimeoutMs: check('hookTimeout', duration(), '10s'),
  };
}

function checkHook(name: (typeof HOOKS)[number], hook: unknown): void {
  if (typeof hook === 'function' || (hook === undefined && name !== 'startup')) return;
  throw preforkError('ERR_PREFORK_OPTION_VALUE', {
    where: where(name),
    found: quote(hook),
    problem: 'is no function',
    expected: 'a function',
  });
}

function credentialsOf({ user, group }: DaemonOptions): Credentials | null {
  if (user === undefined && group === undefined) return null;
  const id = (name: 'user' | 'group', value: string | number | undefined): string | null =>
    value === undefined ? null : checkValue(nameOrId('a name or a number'), value, where(name));
  const found = resolveCredentials(id('user', user), id('group', group));
  if ('problem' in found)
    throw preforkError('ERR_PREFORK_USER', { where: where(found.option), problem: found.problem });
  return found;
}
