/** Finds and loads `prefork.config.*`. Code is run in a child, so that the manager runs none and a reload sees it fresh. */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { describe, describeErrno, preforkError } from '../errors';
import { formatDuration } from './duration';

/** Names that are looked for, in the working directory. */
export const CONFIG_NAMES = ['ts', 'mts', 'js', 'mjs', 'cjs', 'json'].map(
  (extension) => `prefork.config.${extension}`,
);

/** A configuration that takes longer to load waits for something that will not come. */
export const CONFIG_TIMEOUT_MS = 10_000;
/** 1 MiB: options are a page at most. */
export const MAX_CONFIG_BYTES = 1_048_576;

/** The one configuration file of `directory`, or null. Throws `ERR_PREFORK_CONFIG` where there are two. */
export function findConfigFile(directory: string): string | null {
  const found = CONFIG_NAMES.filter((name) => existsSync(join(directory, name)));
  if (found.length > 1) {
    const problem = `${found.slice(1).join(' and ')} exists too; remove one, or name one with --config`;
    throw preforkError('ERR_PREFORK_CONFIG', { file: join(directory, found[0]!), problem });
  }
  return found[0] === undefined ? null : join(directory, found[0]);
}

/**
 * The object that a configuration file holds, as JSON has it. `file` is absolute; code runs in `cwd`.
 * Rejects with `ERR_PREFORK_CONFIG`; takes `timeoutMs` at most.
 */
export async function loadConfigFile(
  file: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
  timeoutMs = CONFIG_TIMEOUT_MS,
): Promise<Readonly<Record<string, unknown>>> {
  const problem = fileProblem(file);
  if (problem !== null) {
    throw preforkError('ERR_PREFORK_CONFIG', { file, problem });
  }
  const value = extname(file) === '.json' ? readJson(file) : await runConfig(file, cwd, env, timeoutMs);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw preforkError('ERR_PREFORK_CONFIG', { file, problem: 'it does not hold an object of options' });
  }
  return value as Readonly<Record<string, unknown>>;
}

function fileProblem(file: string): string | null {
  try {
    const stats = statSync(file);
    if (!stats.isFile()) {
      return 'not a file';
    }
    if (stats.size > MAX_CONFIG_BYTES) {
      return `larger than ${MAX_CONFIG_BYTES} bytes`;
    }
    accessSync(file, constants.R_OK);
  } catch (error) {
    return describeErrno(error);
  }
  return /^\.(ts|mts|cts|js|mjs|cjs|json)$/.test(extname(file))
    ? null
    : `a configuration is named .ts, .mts, .cts, .js, .mjs, .cjs or .json`;
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8').replace(/^\uFEFF/, ''));
  } catch (error) {
    throw preforkError('ERR_PREFORK_CONFIG', { file, problem: describe(error) }, error);
  }
}

/** Ends the report, since a process that the configuration started may hold its pipe open. */
export const REPORT_END = '\n';

/** What the child reports on descriptor 3, as one line of JSON. */
export type ConfigReport = { value: unknown } | { problem: string };

async function runConfig(
  file: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
): Promise<unknown> {
  const loader = join(__dirname, 'load-config-child.js');
  const child = spawn(process.execPath, [...typeStrippingArgs(file), loader, file], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    cwd,
    env,
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`cannot start node: ${error.message}`));
    child.once('exit', (code, signal) => resolve(`its process ended with ${signal ?? code}`));
  });
  // Without a process (EMFILE, EAGAIN) there may be no streams either.
  const streams = child.pid === undefined ? null : ([child.stdio[3], child.stderr] as [Readable, Readable]);
  const stop = (): void => {
    child.kill('SIGKILL');
    streams?.forEach((stream) => void stream.destroy());
  };
  let tooLong = false;
  const timer = setTimeout(() => {
    tooLong = true;
    stop();
  }, timeoutMs);
  try {
    const errors = streams ? collect(streams[1]) : null;
    const report = streams ? readReport(await collect(streams[0], REPORT_END)) : null;
    if (report && 'value' in report) {
      return report.value;
    }
    const problem =
      report?.problem ??
      (tooLong ? `not loaded after ${formatDuration(timeoutMs)}` : await failure(ended, errors));
    throw preforkError('ERR_PREFORK_CONFIG', { file, problem });
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Why there was no report: the end of the process and what it said last. */
async function failure(ended: Promise<string>, errors: Promise<string> | null): Promise<string> {
  const ending = await ended;
  const said = (await errors)?.trim().split('\n').at(-1)?.trim();
  return said ? `${ending}: ${said}` : ending;
}

/** Arguments with which this node reads TypeScript; none where it does by itself. */
function typeStrippingArgs(file: string): readonly string[] {
  if (!/\.[mc]?ts$/.test(file) || (process.features as { typescript?: unknown }).typescript) {
    return [];
  }
  if (process.allowedNodeEnvironmentFlags.has('--experimental-strip-types')) {
    return ['--experimental-strip-types', '--disable-warning=ExperimentalWarning'];
  }
  const problem = `node ${process.versions.node} does not read TypeScript, 22.6 and later do; use ${basename(file).replace(/ts$/, 'js')}`;
  throw preforkError('ERR_PREFORK_CONFIG', { file, problem });
}

/** What a stream brings until it ends, is destroyed, or has brought `end`; {@link MAX_CONFIG_BYTES} at most. */
async function collect(stream: Readable, end = '\0'): Promise<string> {
  const chunks: string[] = [];
  let chars = 0;
  stream.setEncoding('utf8');
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      chunks.push(chunk);
      chars += chunk.length;
      if (chunk.endsWith(end) || chars > MAX_CONFIG_BYTES) {
        break;
      }
    }
  } catch {
    // Destroyed: what came so far counts.
  }
  return chunks.join('');
}

function readReport(output: string): ConfigReport | null {
  try {
    return JSON.parse(output) as ConfigReport;
  } catch {
    return null;
  }
}
