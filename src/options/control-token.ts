/** The file of `--control-token`: a secret, and so neither an argument, which everybody sees in ps, nor a variable, which workers inherit. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { describeErrno } from '../errors';

export const MIN_TOKEN_CHARS = 16;
export const MAX_TOKEN_CHARS = 256;
/** Of the file: the token and white space around it. */
const MAX_FILE_BYTES = 4096;
/** For anybody but its owner. */
const OTHERS = 0o077;

/** The token in the file, or what is wrong with the file. */
export function readToken(path: string): { readonly token: string } | { readonly problem: string } {
  let fd: number;
  try {
    // Without waiting: it may be a pipe.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return { problem: describeErrno(error) };
  }
  try {
    return tokenIn(fd);
  } catch (error) {
    return { problem: describeErrno(error) };
  } finally {
    closeSync(fd);
  }
}

/** What is kept of a token: enough to tell it from another. */
export const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

function tokenIn(fd: number): { token: string } | { problem: string } {
  const stats = fstatSync(fd);
  if (!stats.isFile()) return { problem: 'is no regular file' };
  if (stats.mode & OTHERS) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
    return { problem: `holds a secret, and others than its owner may use it (mode ${mode}); chmod 600 it` };
  }
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  const token = bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0)).trim();
  if (token.length < MIN_TOKEN_CHARS || token.length > MAX_TOKEN_CHARS) {
    return {
      problem: `the token in it has ${token.length > MAX_TOKEN_CHARS ? `more than ${MAX_TOKEN_CHARS}` : token.length} characters; expected ${MIN_TOKEN_CHARS} to ${MAX_TOKEN_CHARS}`,
    };
  }
  // What can be sent in a header, and typed.
  return /^[!-~]+$/.test(token)
    ? { token }
    : { problem: 'the token in it has other characters than visible ASCII ones' };
}
