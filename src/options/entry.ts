/** Finds the program that the workers run, as `node <entry>` would. */
import { accessSync, constants, readFileSync, realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, describeErrno, preforkError } from '../errors';
import { nearestFile } from './paths';

/**
 * The absolute path of the file that `node <entry>` runs in `directory`: the file itself, with `.js` added, or
 * a directory's package.json `main` or index.js. Symbolic links are resolved now, so that a generation
 * keeps to the release it started with. Throws `ERR_PREFORK_ENTRY`.
 */
export function resolveEntry(entry: string, directory: string): string {
  const path = resolve(directory, entry);
  try {
    const found = resolveFile(path) ?? resolveDirectory(path);
    if (found === null) {
      const near = nearestFile(path);
      const problem = isDirectory(path)
        ? 'the directory has neither a package.json with "main" nor an index.js'
        : `no such file${near ? `; did you mean ${near}?` : ''}`;
      throw preforkError('ERR_PREFORK_ENTRY', { entry: path, problem });
    }
    accessSync(found, constants.R_OK);
    return realpathSync(found);
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) {
      throw preforkError('ERR_PREFORK_ENTRY', { entry: path, problem: describeErrno(error) }, error);
    }
    throw error;
  }
}

function resolveFile(path: string): string | null {
  return [path, `${path}.js`].find(isFile) ?? null;
}

function resolveDirectory(path: string): string | null {
  const main = isDirectory(path) ? readMain(join(path, 'package.json')) : null;
  const fromMain =
    main === null ? null : (resolveFile(join(path, main)) ?? resolveFile(join(path, main, 'index.js')));
  return fromMain ?? resolveFile(join(path, 'index.js'));
}

function readMain(manifest: string): string | null {
  if (!isFile(manifest)) {
    return null;
  }
  try {
    const { main } = JSON.parse(readFileSync(manifest, 'utf8')) as { main?: unknown };
    return typeof main === 'string' ? main : null;
  } catch (error) {
    throw preforkError('ERR_PREFORK_ENTRY', { entry: manifest, problem: describe(error) }, error);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
