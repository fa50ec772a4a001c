/** Checks of the files and directories that options name. Each returns what is wrong, or null. */
import { accessSync, constants, lstatSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { describeErrno } from '../errors';
import { nearest } from './nearest';

/** A directory that can be entered and listed. */
export function directoryProblem(path: string): string | null {
  return attempt(() => {
    if (!statSync(path).isDirectory()) {
      return 'not a directory';
    }
    accessSync(path, constants.R_OK | constants.X_OK);
    return null;
  });
}

/** A file that can be written, or made anew in its directory. */
export function writableFileProblem(path: string): string | null {
  return attempt(() => {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (!stats) {
      return makeableProblem(path);
    }
    accessSync(path, constants.W_OK);
    return stats.isDirectory() ? 'is a directory' : null;
  });
}

/** A file that is replaced by rename: its directory must be writable. */
export function replaceableFileProblem(path: string): string | null {
  return attempt(() =>
    statSync(path, { throwIfNoEntry: false })?.isDirectory() ? 'is a directory' : makeableProblem(path),
  );
}

/** A path for a socket: free, or a socket, which whoever binds it tells apart from a live one. */
export function socketPathProblem(path: string): string | null {
  return attempt(() => {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (!stats || stats.isSocket()) {
      return makeableProblem(path);
    }
    const kind = stats.isFile() ? 'a regular file' : stats.isDirectory() ? 'a directory' : 'no socket';
    return `exists and is ${kind}; remove it or name another path`;
  });
}

/** The file beside `path` whose name is nearest, for "did you mean". */
export function nearestFile(path: string): string | null {
  try {
    return nearest(basename(path), readdirSync(dirname(path)));
  } catch {
    return null;
  }
}

function makeableProblem(path: string): string | null {
  const directory = dirname(path);
  return attempt(() => {
    if (!statSync(directory).isDirectory()) {
      return `${directory} is not a directory`;
    }
    accessSync(directory, constants.W_OK | constants.X_OK);
    return null;
  }, `the directory ${directory}: `);
}

function attempt(check: () => string | null, before = ''): string | null {
  try {
    return check();
  } catch (error) {
    return `${before}${describeErrno(error)}`;
  }
}
