/** The options of `start_server`: Server::Starter 0.35's, `--kill-timeout` and `--restart-timeout`. */
import { signalName } from '../engine/errno';
import { parseDuration } from '../options/duration';
import { parseSignal } from '../options/signal-name';
import { StarterExit, starterExit } from './exit';
import { type OptionSpec, parseOptions } from './option-parser';
import { type PortSpec, parsePort } from './ports';

const SPECS = {
  port: { kind: 'text' },
  path: { kind: 'text' },
  dir: { kind: 'text' },
  interval: { kind: 'whole' },
  'signal-on-hup': { kind: 'text' },
  'signal-on-term': { kind: 'text' },
  backlog: { kind: 'whole' },
  'pid-file': { kind: 'text' },
  'status-file': { kind: 'text' },
  envdir: { kind: 'text' },
  'enable-auto-restart': { kind: 'flag' },
  'auto-restart-interval': { kind: 'whole' },
  'kill-old-delay': { kind: 'whole' },
  'log-file': { kind: 'text' },
  daemonize: { kind: 'flag' },
  restart: { kind: 'flag' },
  stop: { kind: 'flag' },
  help: { kind: 'flag' },
  version: { kind: 'flag' },
  'kill-timeout': { kind: 'text', exact: true },
  'restart-timeout': { kind: 'text', exact: true },
} as const satisfies Record<string, OptionSpec>;

type Name = keyof typeof SPECS;

export interface StarterOptions {
  readonly program: readonly string[];
  readonly ports: readonly string[];
  readonly paths: readonly string[];
  /** null: where the manager was started */
  readonly dir: string | null;
  readonly intervalMs: number;
  readonly signalOnHup: NodeJS.Signals;
  readonly signalOnTerm: NodeJS.Signals;
  /** null: as much as the system allows (SOMAXCONN) */
  readonly backlog: number | null;
  readonly pidFile: string | null;
  readonly statusFile: string | null;
  readonly logFile: string | null;
  readonly daemonize: boolean;
  /** null: nobody is ever killed */
  readonly killTimeoutMs: number | null;
  /** ENVDIR, ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL and KILL_OLD_DELAY as the options set them: read later, and seen by workers */
  readonly variables: Readonly<Record<string, string>>;
}

/** What the command line asks for. */
export type Request =
  | { readonly do: 'help' | 'version' }
  | {
      readonly do: 'restart';
      readonly pidFile: string;
      readonly statusFile: string;
      readonly timeoutMs: number;
    }
  | { readonly do: 'stop'; readonly pidFile: string }
  | { readonly do: 'run'; readonly options: StarterOptions };

/** Default of `--restart-timeout`: more than programs take to start and finish. */
const RESTART_TIMEOUT_MS = 600_000;

/**
 * Reads the command line. `posix` is whether POSIXLY_CORRECT is in the environment.
 * @throws StarterExit 1 where it cannot be read, 255 where something is missing or makes no sense
 */
export function parseCommandLine(argv: readonly string[], posix: boolean): Request {
  const { values, rest, problems } = parseOptions(argv, SPECS, posix);
  if (problems.length > 0) throw new StarterExit(starterExit.usage, problems.join('\n'));
  const last = (name: Name): string | null => values.get(name)?.at(-1) ?? null;
  if (last('help') !== null) return { do: 'help' };
  if (last('version') !== null) return { do: 'version' };
  const pidFile = last('pid-file');
  const statusFile = last('status-file');
  if (last('restart') !== null) {
    if (pidFile === null || statusFile === null) {
      throw unusable('--restart option requires --pid-file and --status-file to be set as well');
    }
    const timeoutMs = durationOf('--restart-timeout', last('restart-timeout')) ?? RESTART_TIMEOUT_MS;
    return { do: 'restart', pidFile, statusFile, timeoutMs };
  }
  if (last('stop') !== null) {
    if (pidFile === null) throw unusable('--stop option requires --pid-file to be set as well');
    return { do: 'stop', pidFile };
  }
  if (last('daemonize') !== null && last('log-file') === null) {
    throw unusable('Usage: --log-file option must be specified together with --deamonize');
  }
  if (rest.length === 0) throw unusable('server program not specified');
  return { do: 'run', options: makeOptions(rest, values, last) };
}

function makeOptions(
  program: readonly string[],
  values: ReadonlyMap<string, readonly string[]>,
  last: (name: Name) => string | null,
): StarterOptions {
  const backlog = last('backlog');
  return {
    program,
    ports: values.get('port') ?? [],
    paths: values.get('path') ?? [],
    dir: last('dir'),
    intervalMs: secondsToMs(last('interval') ?? '1'),
    signalOnHup: signalOf('--signal-on-hup', last('signal-on-hup')),
    signalOnTerm: signalOf('--signal-on-term', last('signal-on-term')),
    backlog: backlog === null || Number(backlog) <= 0 ? null : Number(backlog),
    pidFile: last('pid-file'),
    statusFile: last('status-file'),
    logFile: last('log-file') || null,
    daemonize: last('daemonize') !== null,
    killTimeoutMs: durationOf('--kill-timeout', last('kill-timeout')),
    variables: variablesOf(last),
  };
}

/** The options that are variables to the worker as well. */
function variablesOf(last: (name: Name) => string | null): Record<string, string> {
  const variables: Record<string, string> = {};
  const pass = (variable: string, value: string | null): void => {
    if (value !== null) variables[variable] = value;
  };
  pass('ENVDIR', last('envdir'));
  pass('ENABLE_AUTO_RESTART', last('enable-auto-restart'));
  pass('AUTO_RESTART_INTERVAL', last('auto-restart-interval'));
  pass('KILL_OLD_DELAY', last('kill-old-delay'));
  return variables;
}

/** Every `--port`. @throws StarterExit 255 */
export function portsOf({ ports }: StarterOptions): PortSpec[] {
  return ports.map(parsePort);
}

/** Longest interval: 2^31 − 1 ms, as long as a timer can wait. */
const MAX_MS = 2_147_483_647;

/** A whole number of seconds as text → ms, 0 to {@link MAX_MS}; what is below 0 is 0. */
export function secondsToMs(text: string): number {
  const ms = Number(text) * 1000;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_MS) : MAX_MS;
}

function signalOf(option: string, text: string | null): NodeJS.Signals {
  if (text === null) return 'SIGTERM';
  // A number is as good as a name.
  const byNumber = /^[0-9]{1,3}$/.test(text) ? signalName(Number(text)) : null;
  if (byNumber !== null) return byNumber;
  const result = parseSignal(text);
  if (result.ok) return result.value;
  throw unusable(`${option}: ${text} ${result.reason}`);
}

/** More than 0 ms; null where the option is not given. */
function durationOf(option: string, text: string | null): number | null {
  if (text === null) return null;
  const result = parseDuration(text);
  if (!result.ok) throw unusable(`${option}: ${text} ${result.reason}`);
  if (result.value === 0) throw unusable(`${option}: must be more than 0`);
  return result.value;
}

const unusable = (message: string): StarterExit => new StarterExit(starterExit.unusable, message);
