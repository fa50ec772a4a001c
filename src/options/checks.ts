/** What can be checked only with several values at hand, or with this machine. */
import { resolve } from 'node:path';
import { loadBinding } from '../engine/binding';
import type { Capabilities } from '../engine/engine';
import { preforkError } from '../errors';
import { addonAdvice } from './addon-advice';
import { type Address, formatAddress, unixPathProblem } from './address';
import { readToken } from './control-token';
import { type Credentials, resolveCredentials } from './credentials';
import { directoryProblem, replaceableFileProblem, socketPathProblem, writableFileProblem } from './paths';
import { poolSize, type PoolSize } from './pool';
import { quote } from './result';
import {
  MIN_AGE_MS,
  MIN_MEMORY_BYTES,
  type NormalisedOptions,
  normalisedName,
  type OptionName,
  optionNames,
  optionSpec,
} from './schema';
import { formatDuration } from './duration';
import { formatSize } from './size';
import type { Source } from './sources';

export const PATH_OPTIONS = [
  'envDir',
  'pidFile',
  'statusFile',
  'control',
  'controlToken',
  'logFile',
  'warmup',
] as const;
export type PathOptions = { readonly [K in (typeof PATH_OPTIONS)[number]]: string | null };

/** The paths of the options made absolute from `base`. */
export function resolvePaths(merged: NormalisedOptions, base: string): PathOptions {
  const absolute = PATH_OPTIONS.map((name) => [
    name,
    merged[name] === null ? null : resolve(base, merged[name]),
  ]);
  return Object.fromEntries(absolute) as PathOptions;
}

export interface EngineChoice {
  readonly engine: 'native' | 'js';
  /** why it is the js engine; null with native */
  readonly engineReason: string | null;
}

/** The checks that need more than one value or the machine; each throws a {@link PreforkError} that names the option as given. */
export class Checks {
  readonly #sources: readonly Source[];

  constructor(sources: readonly Source[]) {
    this.#sources = sources;
  }

  /** How the option is called where it was given. */
  where(name: OptionName): string {
    const source = this.#sources.find((candidate) => candidate.has(name)) ?? this.#sources[0]!;
    return source.where(name);
  }

  #given(name: OptionName): boolean {
    return this.#sources.some((source) => source.has(name));
  }

  directory(name: OptionName, path: string): void {
    this.#path(name, path, directoryProblem(path));
  }

  #path(name: OptionName, path: string, problem: string | null): void {
    if (problem !== null) {
      throw preforkError('ERR_PREFORK_PATH', { where: this.where(name), path, problem });
    }
  }

  #conflict(problem: string): never {
    throw preforkError('ERR_PREFORK_OPTION_CONFLICT', { problem });
  }

  conflicts(merged: NormalisedOptions): void {
    if (merged.daemonize && merged.logFile === null) {
      this.#conflict(`${this.where('daemonize')} needs --log-file, since there is no terminal to print to`);
    }
    if (merged.controlToken !== null && merged.metrics === null) {
      this.#conflict(`${this.where('controlToken')} has no effect without --metrics`);
    }
    if (this.#given('interval') && merged.ready !== 'start') {
      this.#conflict(`${this.where('interval')} has no effect without --ready start`);
    }
    if (this.#given('rolloutBatch') && merged.rollout !== 'rolling') {
      this.#conflict(`${this.where('rolloutBatch')} has no effect without --rollout rolling`);
    }
    if (merged.onManagerDeath === 'keep') {
      const where = `${this.where('onManagerDeath')} keep`;
      if (merged.control === null && merged.pidFile === null)
        this.#conflict(`${where} needs --control or --pid-file, where the workers find a new manager`);
      // The control socket is for its own user alone.
      if (merged.user !== null || merged.group !== null)
        this.#conflict(`${where} is for workers of the manager's own user, not with --user or --group`);
    }
    this.#heartbeats(merged);
    this.#atLeast('maxAge', merged.maxAgeMs, MIN_AGE_MS, formatDuration);
    this.#atLeast('maxMemory', merged.maxMemoryBytes, MIN_MEMORY_BYTES, formatSize);
    if (merged.maxRequestsJitter > 0 && merged.maxRequests === 0) {
      this.#conflict(`${this.where('maxRequestsJitter')} has no effect without --max-requests`);
    }
    if (
      merged.reusePort &&
      merged.bind?.some((address) => address.kind !== 'tcp' && address.kind !== 'udp')
    ) {
      this.#conflict(
        `${this.where('reusePort')} is for TCP and UDP addresses, not for ${merged.bind.map(formatAddress).join(', ')}`,
      );
    }
  }

  #heartbeats({ scoreboard, heartbeatIntervalMs, heartbeatTimeoutMs }: NormalisedOptions): void {
    if (!scoreboard) {
      const given = (['heartbeatInterval', 'heartbeatTimeout'] as const).find((name) => this.#given(name));
      if (given) this.#conflict(`${this.where(given)} has no effect with --no-scoreboard`);
    } else if (heartbeatTimeoutMs > 0 && heartbeatTimeoutMs < 2 * heartbeatIntervalMs) {
      const timeout = this.where(this.#given('heartbeatTimeout') ? 'heartbeatTimeout' : 'heartbeatInterval');
      this.#conflict(`${timeout}: the heartbeat timeout is to be at least twice the interval`);
    }
  }

  #atLeast(name: OptionName, value: number, least: number, format: (value: number) => string): void {
    if (value > 0 && value < least) {
      this.#conflict(
        `${this.where(name)}: ${format(value)} is too little; expected at least ${format(least)}`,
      );
    }
  }

  /** How many workers, and whether their number follows the load. */
  pool(merged: NormalisedOptions): PoolSize {
    const pool = poolSize(merged, (name) => this.#given(name));
    if ('problem' in pool) {
      const colon = /^\d/.test(pool.problem) ? ':' : '';
      this.#conflict(`${this.where(pool.option)}${colon} ${pool.problem}`);
    }
    if (pool.elastic !== null && !merged.scoreboard) {
      this.#conflict(`${this.where('maxWorkers')} needs the scoreboard, which --no-scoreboard takes away`);
    }
    return pool;
  }

  paths(paths: PathOptions, merged: NormalisedOptions): void {
    if (paths.envDir !== null) {
      this.directory('envDir', paths.envDir);
    }
    for (const name of ['pidFile', 'logFile'] as const) {
      this.#path(name, paths[name] ?? '', paths[name] === null ? null : writableFileProblem(paths[name]));
    }
    if (paths.statusFile !== null) {
      this.#path('statusFile', paths.statusFile, replaceableFileProblem(paths.statusFile));
    }
    if (paths.control !== null) {
      const problem = unixPathProblem(paths.control) ?? socketPathProblem(paths.control);
      this.#path('control', paths.control, problem);
    }
    if (paths.controlToken !== null) {
      const read = readToken(paths.controlToken);
      this.#path('controlToken', paths.controlToken, 'problem' in read ? read.problem : null);
    }
    this.#samePaths(paths, merged);
  }

  /** Two options that write one file would destroy each other's. */
  #samePaths(paths: PathOptions, merged: NormalisedOptions): void {
    const seen = new Map<string, OptionName>();
    for (const name of PATH_OPTIONS) {
      const path = paths[name];
      const other = path === null ? undefined : seen.get(path);
      if (other !== undefined) {
        this.#conflict(`${this.where(name)} and ${this.where(other)} are both ${quote(merged[name])}`);
      }
      if (path !== null) {
        seen.set(path, name);
      }
    }
  }

  /** A Unix socket's path made absolute and checked; other addresses as they are. */
  address<A extends Address>(address: A, base: string, name: 'bind' | 'metrics' = 'bind'): A {
    if (address.kind !== 'unix') {
      return address;
    }
    const path = resolve(base, address.path);
    this.#path(name, path, unixPathProblem(path) ?? socketPathProblem(path));
    return { ...address, path };
  }

  duplicates(bind: readonly Address[]): void {
    const texts = bind.filter((address) => !('port' in address) || address.port !== 0).map(formatAddress);
    const twice = texts.find((text, index) => texts.indexOf(text) !== index);
    if (twice !== undefined) {
      this.#conflict(`${this.where('bind')} names ${twice} twice`);
    }
  }

  /** Which engine runs this, and whether it can do what is asked. */
  engine(merged: NormalisedOptions, bind: readonly Address[], env: NodeJS.ProcessEnv): EngineChoice {
    const { binding, reason } = merged.native === false ? { binding: null, reason: null } : loadBinding();
    if (binding) {
      const fork = binding.forkSupport();
      if (merged.preload && !fork.ok) {
        const reason = fork.reason ?? 'this system cannot fork';
        throw preforkError('ERR_PREFORK_CAPABILITY', {
          where: this.where('preload'),
          capability: 'fork',
          reason,
        });
      }
      return { engine: 'native', engineReason: null };
    }
    if (merged.native) {
      throw preforkError('ERR_PREFORK_ADDON_MISSING', {
        reason: reason ?? 'unknown',
        advice: addonAdvice(env),
      });
    }
    const engineReason = reason === null ? this.#nativeOff() : `the addon did not load (${reason})`;
    const can = jsCapabilities();
    for (const name of optionNames) {
      const capability = optionSpec(name).needs;
      const value = merged[normalisedName(name)];
      if (capability && !can[capability] && value !== null && value !== false) {
        throw preforkError('ERR_PREFORK_CAPABILITY', {
          where: this.where(name),
          capability,
          reason: engineReason,
        });
      }
    }
    if (!can.peerCredentials && merged.onManagerDeath === 'keep') {
      const where = `${this.where('onManagerDeath')} keep`;
      throw preforkError('ERR_PREFORK_CAPABILITY', {
        where,
        capability: 'peerCredentials',
        reason: engineReason,
      });
    }
    if (!can.childCredentials && !merged.newPrivs) {
      const where = this.#flagOff('newPrivs', '--no-new-privs');
      throw preforkError('ERR_PREFORK_CAPABILITY', {
        where,
        capability: 'childCredentials',
        reason: engineReason,
      });
    }
    if (!can.udp && bind.some((address) => address.kind === 'udp')) {
      const where = `${this.where('bind')} with udp:`;
      throw preforkError('ERR_PREFORK_CAPABILITY', { where, capability: 'udp', reason: engineReason });
    }
    return { engine: 'js', engineReason };
  }

  #nativeOff(): string {
    const where = this.where('native');
    return where === '--native' ? '--no-native is given' : `${where} is off`;
  }

  #flagOff(name: OptionName, flag: string): string {
    const where = this.where(name);
    return where.startsWith('--') ? flag : where;
  }

  credentials(merged: NormalisedOptions): Credentials | null {
    if (merged.user === null && merged.group === null) {
      return null;
    }
    const found = resolveCredentials(merged.user, merged.group);
    if ('problem' in found) {
      throw preforkError('ERR_PREFORK_USER', { where: this.where(found.option), problem: found.problem });
    }
    if (process.geteuid!() !== 0 && (found.uid !== process.getuid!() || found.gid !== process.getgid!())) {
      const where = this.where(merged.user === null ? 'group' : 'user');
      throw preforkError('ERR_PREFORK_USER', {
        where,
        problem: 'only root may run workers as another user or group',
      });
    }
    return found;
  }
}

/** What the js engine can do with the Node in use. Loaded only where it is the engine. */
function jsCapabilities(): Capabilities {
  const { JsEngine } = require('../engine/js') as typeof import('../engine/js');
  const engine = new JsEngine();
  engine.close();
  return engine.capabilities;
}
