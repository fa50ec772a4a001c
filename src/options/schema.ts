/**
 * The one table of the options of `prefork run`. The command line, `--help`, the environment, the configuration
 * file and the types {@link PreforkOptions} and {@link RunOptions} all come from it: an option more is an entry more.
 */
import { availableParallelism } from 'node:os';
import type * as v from 'valibot';
import { MAX_WORKERS } from '../core/policy';
import type { Capabilities } from '../engine/engine';
import {
  addresses,
  choice,
  duration,
  endpoint,
  flag,
  type Kind,
  nameOrId,
  octalMask,
  share,
  signalMap,
  size,
  whole,
  wholeOrAuto,
  word,
  words,
} from './kinds';

export { MAX_WORKERS };
/** Shorter, and workers would do little else than start. */
export const MIN_AGE_MS = 1000;
/** Less than any Node.js program needs. */
export const MIN_MEMORY_BYTES = 16 * 1024 * 1024;
/** listen(2) takes an int; the kernel cuts it to net.core.somaxconn. */
export const MAX_BACKLOG = 65_535;
/** A worker and the manager wake as often. */
export const MIN_HEARTBEAT_MS = 100;
/** A counter that stays a small integer. */
export const MAX_COUNT = 2_147_483_647;

/** Headings of `--help`, in its order. */
export const groups = [
  'Workers:',
  'Elastic pool:',
  'Listening:',
  'Readiness and leaving:',
  'Reload:',
  'Files and logs:',
  'Process:',
  'Configuration:',
] as const;

/** What an entry of the table says besides its kind. */
interface About {
  readonly group: (typeof groups)[number];
  readonly doc: string;
  /** one letter, `-b` */
  readonly short?: string;
  /** long flag where it is not the name in kebab-case */
  readonly long?: string;
  /** further spellings of the long flag, not in the help */
  readonly alias?: string;
  /** placeholder of the argument in the help */
  readonly arg?: string;
  /** of a flag: what its `--no-` form does, where that is more than the default */
  readonly offDoc?: string;
  /** said in the help where there is no fixed default */
  readonly defaultDoc?: string;
  /** the engine must be capable of it */
  readonly needs?: keyof Capabilities;
}

export interface OptionSpec<In = unknown, Out = unknown, Unit extends string = string, Default = unknown>
  extends About {
  readonly kind: Kind<In, Out, Unit>;
  /** as in a configuration file; undefined where being absent means something of its own (null in RunOptions) */
  readonly default: Default;
}

function option<In, Out, Unit extends string>(
  kind: Kind<In, Out, Unit>,
  about: About,
): OptionSpec<In, Out, Unit, undefined>;
function option<In, Out, Unit extends string>(
  kind: Kind<In, Out, Unit>,
  about: About & { default: NoInfer<In> },
): OptionSpec<In, Out, Unit, In>;
function option<In, Out, Unit extends string>(
  kind: Kind<In, Out, Unit>,
  about: About & { default?: NoInfer<In> },
): OptionSpec<In, Out, Unit, In | undefined> {
  return { ...about, kind, default: about.default };
}

export const runOptionTable = {
  workers: option(wholeOrAuto(1, MAX_WORKERS, Math.min(availableParallelism(), MAX_WORKERS)), {
    group: 'Workers:',
    short: '-w',
    arg: 'n|auto',
    doc: 'how many workers, or with --max-workers how many at the start; auto is one for each CPU that this process may use',
    default: 'auto',
  }),
  minWorkers: option(whole(1, MAX_WORKERS), {
    group: 'Elastic pool:',
    arg: 'n',
    doc: 'never fewer workers',
    defaultDoc: '1',
  }),
  maxWorkers: option(whole(1, MAX_WORKERS), {
    group: 'Elastic pool:',
    arg: 'n',
    doc: 'let the number of workers follow the load, up to so many',
    defaultDoc: 'it stays',
  }),
  minSpare: option(whole(1, MAX_WORKERS), {
    group: 'Elastic pool:',
    arg: 'n',
    doc: 'start workers when fewer are idle: 1, then 2, 4 … up to 32 a second',
    defaultDoc: '1',
  }),
  maxSpare: option(whole(1, MAX_WORKERS), {
    group: 'Elastic pool:',
    arg: 'n',
    doc: 'when more have been idle for 5 s, one worker fewer a second',
    defaultDoc: 'twice --min-spare',
  }),
  native: option(flag(), {
    group: 'Workers:',
    doc: 'refuse to start without the addon',
    offDoc: 'never use the addon',
    defaultDoc: 'use it where it loads',
  }),
  preload: option(flag(), {
    group: 'Workers:',
    doc: 'load the program once and fork the workers from it, sharing its memory',
    default: false,
    needs: 'fork',
  }),
  warmup: option(word('a path'), {
    group: 'Workers:',
    arg: 'file',
    doc: 'with --preload: a module whose default export is called before the workers are forked',
  }),
  forkSafety: option(choice('refuse', 'warn'), {
    group: 'Workers:',
    arg: 'what',
    doc: 'with --preload: what to do about open sockets, threads and work under way in the loaded program',
    default: 'refuse',
  }),
  scoreboard: option(flag(), {
    group: 'Workers:',
    doc: 'workers tell of their state, requests, load and memory in shared memory',
    offDoc: 'without scoreboard and heartbeats',
    default: true,
  }),
  heartbeatInterval: option(duration(MIN_HEARTBEAT_MS), {
    group: 'Workers:',
    arg: 'time',
    doc: 'how often a worker gives a sign of life, and the manager looks for it',
    default: '5s',
  }),
  heartbeatTimeout: option(duration(), {
    group: 'Workers:',
    arg: 'time',
    doc: 'replace a worker that has given none for so long: it hangs; 0 is never',
    default: '50s',
  }),
  stuckStack: option(flag(), {
    group: 'Workers:',
    doc: 'log the JavaScript stack of a worker that hangs',
    offDoc: 'never open the inspector of a worker that hangs',
    default: true,
  }),
  maxRequests: option(whole(0, MAX_COUNT), {
    group: 'Workers:',
    arg: 'n',
    doc: 'replace a worker after so many requests; 0 is never',
    default: 0,
  }),
  maxRequestsJitter: option(whole(0, MAX_COUNT), {
    group: 'Workers:',
    arg: 'n',
    doc: 'add a random number up to n, so that workers are not replaced all at once',
    default: 0,
  }),
  maxAge: option(duration(), {
    group: 'Workers:',
    arg: 'time',
    doc: 'replace a worker at this age, less up to a tenth by chance so that not all go at once; 0 is never',
    default: '0',
  }),
  maxMemory: option(size(), {
    group: 'Workers:',
    arg: 'size',
    doc: 'replace a worker before it uses more memory, such as 512MiB; 0 is without bound',
    default: '0',
  }),
  spare: option(whole(0, MAX_WORKERS), {
    group: 'Workers:',
    arg: 'n',
    doc: 'how many workers at a time are replaced before they leave; with 0 they leave first',
    default: 2,
  }),
  nodeArgs: option(words('arguments of node that begin with -'), {
    group: 'Workers:',
    long: '--node-arg',
    arg: 'arg',
    doc: 'argument of node in the workers, as --node-arg=--max-old-space-size=512 (repeatable)',
  }),
  envDir: option(word('a directory'), {
    group: 'Workers:',
    alias: '--envdir',
    arg: 'dir',
    doc: 'a file a variable: added to the environment of the workers, read again at each reload',
  }),
  user: option(nameOrId('a user name or uid'), {
    group: 'Workers:',
    arg: 'name|uid',
    doc: 'run the workers as this user, with its groups',
    needs: 'childCredentials',
  }),
  group: option(nameOrId('a group name or gid'), {
    group: 'Workers:',
    arg: 'name|gid',
    doc: "run the workers in this group, instead of the user's",
    needs: 'childCredentials',
  }),
  umask: option(octalMask(), {
    group: 'Workers:',
    arg: 'octal',
    doc: 'file mode creation mask of the workers, such as 022',
    needs: 'childLimits',
  }),
  newPrivs: option(flag(), {
    group: 'Workers:',
    doc: 'workers may gain privileges, as by setuid programs',
    offDoc: 'workers, and all that they start, never gain privileges (no_new_privs)',
    default: true,
  }),

  bind: option(addresses(), {
    group: 'Listening:',
    short: '-b',
    arg: 'addr',
    doc: 'address to listen on: 8080, 127.0.0.1:8080, [::1]:8080, unix:/run/app.sock, udp:53, fd:3, systemd (repeatable)',
    defaultDoc: 'what the program listens on',
  }),
  backlog: option(whole(1, MAX_BACKLOG), {
    group: 'Listening:',
    arg: 'n',
    doc: 'queue of connections that wait to be accepted',
    defaultDoc: "the program's own",
  }),
  reusePort: option(flag(), {
    group: 'Listening:',
    doc: 'one socket a worker (SO_REUSEPORT), all held by the manager; for TCP and UDP',
    default: false,
    needs: 'reusePort',
  }),

  ready: option(choice('listen', 'start', 'message'), {
    group: 'Readiness and leaving:',
    arg: 'when',
    doc: 'a worker is ready when it listens, when it is alive after --interval (start), or when it says so (message)',
    default: 'listen',
  }),
  interval: option(duration(), {
    group: 'Readiness and leaving:',
    arg: 'time',
    doc: 'for --ready start',
    default: '1s',
  }),
  readyTimeout: option(duration(1), {
    group: 'Readiness and leaving:',
    arg: 'time',
    doc: 'how long a worker may take to become ready',
    default: '60s',
  }),
  gracefulTimeout: option(duration(), {
    group: 'Readiness and leaving:',
    arg: 'time',
    doc: 'how long a worker may take to finish what is in flight before it is killed',
    default: '30s',
  }),
  keepaliveLinger: option(duration(), {
    group: 'Readiness and leaving:',
    arg: 'time',
    doc: 'how long a leaving worker waits for a last request on idle keep-alive connections',
    defaultDoc: "the server's keepAliveTimeout",
  }),
  onManagerDeath: option(choice('stop', 'keep'), {
    group: 'Readiness and leaving:',
    arg: 'what',
    doc: 'whether workers stop when the manager is killed, or keep serving until a new one takes them over',
    default: 'stop',
  }),

  rollout: option(choice('surge', 'rolling'), {
    group: 'Reload:',
    arg: 'how',
    doc: 'surge starts all new workers, then ends the old; rolling replaces a batch at a time',
    default: 'surge',
  }),
  rolloutBatch: option(whole(1, MAX_WORKERS), {
    group: 'Reload:',
    arg: 'n',
    doc: 'workers replaced at a time by --rollout rolling',
    default: 1,
  }),
  rolloutReady: option(share(), {
    group: 'Reload:',
    arg: 'share',
    doc: 'share of the new workers that must be ready, such as 80%, before the old are ended',
    default: '100%',
  }),

  pidFile: option(word('a path'), {
    group: 'Files and logs:',
    arg: 'file',
    doc: 'holds the pid of the manager, locked while it runs',
  }),
  statusFile: option(word('a path'), {
    group: 'Files and logs:',
    arg: 'file',
    doc: 'holds a line generation:pid for each worker',
  }),
  metrics: option(endpoint(), {
    group: 'Files and logs:',
    arg: 'addr',
    doc: 'serve a live page, /metrics for Prometheus, /healthz and /readyz there: 127.0.0.1:9090 or unix:/run/app.metrics',
  }),
  controlToken: option(word('a path'), {
    group: 'Files and logs:',
    arg: 'file',
    doc: 'holds a secret; whoever knows it may reload, scale and stop at the address of --metrics',
    defaultDoc: 'nobody may',
  }),
  control: option(word('a path'), {
    group: 'Files and logs:',
    arg: 'path',
    doc: 'control socket for the other commands',
  }),
  logFile: option(word('a path'), {
    group: 'Files and logs:',
    arg: 'file',
    doc: 'append the log and what the workers print to this file, opened anew on USR1',
    defaultDoc: 'standard error',
  }),
  logFormat: option(choice('pretty', 'json'), {
    group: 'Files and logs:',
    arg: 'format',
    doc: 'pretty for people, json for machines',
    defaultDoc: 'pretty on a terminal, else json',
  }),
  logLevel: option(choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'), {
    group: 'Files and logs:',
    arg: 'level',
    doc: 'trace, debug, info, warn, error, fatal or silent',
    default: 'info',
  }),
  tagOutput: option(flag(), {
    group: 'Files and logs:',
    doc: 'begin each line that a worker prints with its slot, pid and generation; JSON with --log-format json',
    default: false,
  }),

  chdir: option(word('a directory'), {
    group: 'Process:',
    arg: 'dir',
    doc: 'go there first: the entry and all relative paths are looked up from it',
  }),
  daemonize: option(flag(), {
    group: 'Process:',
    doc: 'go to the background once the first workers are ready; needs --log-file',
    default: false,
  }),
  signals: option(choice('prefork', 'ghost', 'starter'), {
    group: 'Process:',
    arg: 'preset',
    doc: 'what signals do: as below, as with Acme::Ghost, or as with Server::Starter',
    default: 'prefork',
  }),
  trapSignals: option(signalMap(), {
    group: 'Process:',
    long: '--trap-signal',
    arg: 'sig=sig',
    doc: 'on the first signal, send the second to the workers; replaces the preset (repeatable)',
  }),

  config: option(word('a path'), {
    group: 'Configuration:',
    arg: 'file',
    doc: 'configuration file',
    defaultDoc: 'prefork.config.{ts,mts,js,mjs,cjs,json} where there is one',
  }),
} as const;

type Table = typeof runOptionTable;
export type OptionName = keyof Table;

type Input<S> = S extends { kind: Kind<infer In, infer _Out, infer _Unit> } ? In : never;
type Output<S> = S extends { kind: Kind<infer _In, infer Out, infer _Unit> } ? Out : never;
type Unit<S> = S extends { kind: Kind<infer _In, infer _Out, infer U> } ? U : never;
type OutputOrNull<S> = S extends { default: undefined } ? Output<S> | null : Output<S>;

/**
 * The options as users write them in `prefork.config.*`: the long flags in camelCase. Durations are text with a
 * unit (`'500ms'`, `'5m'`) or a number of seconds, as on the command line.
 */
export type PreforkOptions = { [K in Exclude<OptionName, 'config'>]?: Input<Table[K]> | undefined };

/** The options checked and in their units (`…Ms`); those without a default are null when absent. */
export type NormalisedOptions = {
  readonly [K in OptionName as `${K}${Unit<Table[K]>}`]: OutputOrNull<Table[K]>;
};

export const optionNames = Object.keys(runOptionTable) as OptionName[];

/** The entry of an option, in the shape that all have. */
export function optionSpec(name: OptionName): OptionSpec {
  return runOptionTable[name] as OptionSpec;
}

/** `gracefulTimeout` → `--graceful-timeout`. */
export function longFlag(name: OptionName): string {
  return optionSpec(name).long ?? `--${kebab(name)}`;
}

/** `gracefulTimeout` → `PREFORK_GRACEFUL_TIMEOUT`. */
export function variableName(name: OptionName): string {
  return `PREFORK_${kebab(name).replaceAll('-', '_').toUpperCase()}`;
}

/** Name of the normalised value: `gracefulTimeout` → `gracefulTimeoutMs`. */
export function normalisedName(name: OptionName): keyof NormalisedOptions {
  return `${name}${optionSpec(name).kind.unit}` as keyof NormalisedOptions;
}

/** For a schema of one option; the table's own types are too many for a common one. */
export type OptionSchema = v.GenericSchema<unknown, unknown>;

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
