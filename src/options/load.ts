/** From what was asked for to options that can be run: sources merged, then everything checked that can be before a start. */
import { realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isatty } from 'node:tty';
import { describeErrno, PreforkError, preforkError } from '../errors';
import type { Address } from './address';
import { Checks, type EngineChoice, resolvePaths } from './checks';
import { findConfigFile, loadConfigFile } from './config-file';
import type { Credentials } from './credentials';
import { resolveEntry } from './entry';
import type { PoolSize } from './pool';
import { checkNodeArgs } from './node-args';
import type { NormalisedOptions } from './schema';
import { defaults, fromCommandLine, fromConfig, fromEnvironment, type GivenOptions } from './sources';

/** What was asked for, in plain JSON: kept for a reload, which reads everything else again. */
export interface Invocation {
  readonly given: GivenOptions;
  /** as written */
  readonly entry: string;
  readonly args: readonly string[];
  /** the directory it was asked in, by the name that the shell has for it (symbolic links kept) */
  readonly cwd: string;
  /** of a program that embeds a manager: these are all options there are, neither a file nor the environment is read */
  readonly embedded?: Readonly<Record<string, unknown>>;
}

/** Everything that a manager needs to know. Paths are absolute. */
export interface RunOptions
  extends Omit<
      NormalisedOptions,
      | 'native'
      | 'user'
      | 'group'
      | 'config'
      | 'chdir'
      | 'logFormat'
      | 'bind'
      | 'nodeArgs'
      | 'minSpare'
      | 'maxSpare'
      | keyof PoolSize
    >,
    EngineChoice,
    PoolSize {
  readonly bind: readonly Address[];
  readonly nodeArgs: readonly string[];
  readonly logFormat: 'pretty' | 'json';
  /** the program, symbolic links resolved */
  readonly entry: string;
  readonly args: readonly string[];
  /** working directory of the workers, symbolic links resolved */
  readonly cwd: string;
  /** of the workers; null: as the manager's */
  readonly credentials: Credentials | null;
  /** the configuration file that was read, or null */
  readonly configFile: string | null;
  /** for {@link loadRunOptions} at a reload */
  readonly invocation: Invocation;
}

/**
 * The directory of a new invocation: `PWD` where it names the working directory, since a shell keeps the symbolic
 * links in it, and a reload follows them anew. Throws `ERR_PREFORK_PATH` when the working directory is gone.
 */
export function logicalCwd(env: NodeJS.ProcessEnv = process.env): string {
  let cwd: string;
  try {
    cwd = process.cwd();
  } catch (error) {
    throw preforkError(
      'ERR_PREFORK_PATH',
      { where: 'working directory', path: '.', problem: describeErrno(error) },
      error,
    );
  }
  return env.PWD?.startsWith('/') && realPath(env.PWD) === cwd ? resolve(env.PWD) : cwd;
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/**
 * Reads and checks the options of an invocation: command line, then configuration file, then `PREFORK_*`
 * variables, then defaults. Used at the start and at each reload; files, links and accounts are read anew each time.
 * Resolves to a {@link PreforkError} where something is unusable; starts nothing that outlives it.
 */
export async function loadRunOptions(
  invocation: Invocation,
  env: NodeJS.ProcessEnv = process.env,
): Promise<RunOptions | PreforkError> {
  try {
    return await load(invocation, env);
  } catch (error) {
    if (error instanceof PreforkError) {
      return error;
    }
    throw error;
  }
}

/** Where a running service is found. Absolute paths. */
export interface ServicePaths {
  readonly pidFile: string | null;
  readonly control: string | null;
}

/**
 * What the commands for a running service need of its options, from the same sources. Nothing else is checked, and where
 * the command line names the service it does not matter whether the configuration can be loaded.
 * Throws a {@link PreforkError}.
 */
export async function loadServicePaths(
  invocation: Pick<Invocation, 'given' | 'cwd'>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<ServicePaths> {
  const { pidFile, control } = invocation.given;
  try {
    const { sources, base } = await gather(invocation, env);
    const values = sources.map((source) => source.values);
    const of = (name: 'pidFile' | 'control'): string | null => {
      const path = values.find((value) => value[name])?.[name];
      return path ? resolve(base, path) : null;
    };
    return { pidFile: of('pidFile'), control: of('control') };
  } catch (error) {
    const named = pidFile !== undefined || control !== undefined;
    if (!named || !(error instanceof PreforkError)) throw error;
    // Throws again where it is the command line that is wrong.
    const { values } = fromCommandLine(invocation.given);
    const base = resolve(invocation.cwd, values.chdir ?? '.');
    const absolute = (path: string | null | undefined): string | null => (path ? resolve(base, path) : null);
    return { pidFile: absolute(values.pidFile), control: absolute(values.control) };
  }
}

async function load(invocation: Invocation, env: NodeJS.ProcessEnv): Promise<RunOptions> {
  const { sources, configFile, base } = await gather(invocation, env);
  const merged: NormalisedOptions = Object.assign(
    defaults(),
    ...sources.map((source) => source.values).reverse(),
  );
  const checks = new Checks(sources);
  checks.directory('chdir', base);
  const cwd = realpathSync(base);
  const paths = resolvePaths(merged, base);
  checks.conflicts(merged);
  const pool = checks.pool(merged);
  checks.paths(paths, merged);
  const bind = merged.bind?.map((address) => checks.address(address, base)) ?? [];
  checks.duplicates(bind);
  const { engine, engineReason } = checks.engine(merged, bind, env);
  const credentials = checks.credentials(merged);
  const entry = resolveEntry(invocation.entry, base);
  await checkNodeArgs(merged.nodeArgs ?? [], checks.where('nodeArgs'), env);
  const { native: _n, user: _u, group: _g, config: _c, chdir: _d, ...others } = merged;
  const { minSpare: _min, maxSpare: _max, ...options } = others;
  return {
    ...options,
    ...pool,
    ...paths,
    bind,
    metrics: merged.metrics === null ? null : checks.address(merged.metrics, base, 'metrics'),
    nodeArgs: merged.nodeArgs ?? [],
    logFormat: merged.logFormat ?? (paths.logFile === null && isatty(2) ? 'pretty' : 'json'),
    engine,
    engineReason,
    entry,
    args: invocation.args,
    cwd,
    credentials,
    configFile,
    invocation,
  };
}

/** The sources, strongest first, and the directory that relative paths start from. */
async function gather(invocation: Pick<Invocation, 'given' | 'cwd' | 'embedded'>, env: NodeJS.ProcessEnv) {
  if (invocation.embedded !== undefined) {
    const options = fromConfig(invocation.embedded, 'createManager()');
    return {
      sources: [options],
      configFile: null,
      base: resolve(invocation.cwd, options.values.chdir ?? '.'),
    };
  }
  const line = fromCommandLine(invocation.given);
  const environment = fromEnvironment(env);
  const chdir = line.values.chdir ?? environment.values.chdir ?? null;
  const base = resolve(invocation.cwd, chdir ?? '.');
  new Checks([line, environment]).directory('chdir', base);
  const named = line.values.config ?? environment.values.config ?? null;
  const configFile = named === null ? findConfigFile(base) : resolve(base, named);
  if (configFile === null) {
    return { sources: [line, environment], configFile, base };
  }
  const file = fromConfig(await loadConfigFile(configFile, base, env), configFile);
  const moved =
    line.values.chdir === undefined && file.values.chdir
      ? resolve(dirname(configFile), file.values.chdir)
      : base;
  return { sources: [line, file, environment], configFile, base: moved };
}
