/** Finds and loads `prefork.config.*`. Code is run in a child, so that the manager runs none and a reload sees it fresh. */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { describe, describeErrno, preforkError } from '../errors';

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
 * Rejects with `ERR_PREFORK_CONFIG`; takes {@link CONFIG_TIMEOUT_MS} at most.
 */
export async function loadConfigFile(
  file: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<Readonly<Record<string, unknown>>> {
  const problem = fileProblem(file);
  if (problem !== null) {
    throw preforkError('ERR_PREFORK_CONFIG', { file, problem });
  }
  const value = extname(file) === '.json' ? readJson(file) : await runConfig(file, cwd, env);
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

/** What the child reports on descriptor 3. */
export type ConfigReport = { value: unknown } | { problem: string };

async function runConfig(file: string, cwd: string, env: NodeJS.ProcessEnv): Promise<unknown> {
  const typeArgs = typeStrippingArgs(file);
  const loader = join(__dirname, 'load-config-child.js');
  const child = spawn(process.execPath, [...typeArgs, loader, file], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    cwd,
    env,
    timeout: CONFIG_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const closed = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`cannot start node: ${error.message}`));
    child.once('close', (code, signal) =>
      resolve(
        signal === 'SIGKILL'
          ? `not loaded after ${CONFIG_TIMEOUT_MS / 1000} s`
          : `its process ended with ${signal ?? code}`,
      ),
    );
  });
  const [output, errors, ending] = await Promise.all([
    collect(child.stdio[3] as Readable),
    collect(child.stderr!),
    closed,
  ]);
  const report = readReport(output);
  if (report && 'value' in report) {
    return report.value;
  }
  const problem = report?.problem ?? [ending, lastLine(errors)].filter(Boolean).join(': ');
  throw preforkError('ERR_PREFORK_CONFIG', { file, problem });
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

/** All of a stream, as far as {@link MAX_CONFIG_BYTES}. */
async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (bytes < MAX_CONFIG_BYTES) {
      chunks.push(chunk);
      bytes += chunk.length;
    }
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readReport(output: string): ConfigReport | null {
  try {
    return JSON.parse(output) as ConfigReport;
  } catch {
    return null;
  }
}

function lastLine(errors: string): string {
  return errors.trim().split('\n').at(-1)!.trim();
}
