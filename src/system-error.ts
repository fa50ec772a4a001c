/** The one error for system calls that fail, and `check()`, which makes it of what the addon returns. */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** What a failed call was about. */
export interface SystemErrorDetail {
  /** the file or directory, where there is one */
  path?: string;
  /** the process, where there is one */
  pid?: number;
  cause?: unknown;
}

/**
 * A system call failed. Of the same form as Node's own: `code` ('ENOENT'), negative `errno` (−2), `syscall`.
 * For {@link spawn} and {@link daemonize} `syscall` is the step that failed: 'clone', 'chdir', 'setuid', 'execve', …
 */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  /** negative, as everywhere in Node */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
  readonly pid?: number;

  constructor(errno: number, syscall: string, detail: SystemErrorDetail = {}) {
    const [code, text] = lookUp(errno);
    const subject =
      detail.path !== undefined ? ` '${detail.path}'` : detail.pid !== undefined ? ` ${detail.pid}` : '';
    super(`${code}: ${text}, ${syscall}${subject}`, 'cause' in detail ? { cause: detail.cause } : undefined);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (detail.path !== undefined) this.path = detail.path;
    if (detail.pid !== undefined) this.pid = detail.pid;
  }
}

/**
 * Passes on what is ≥ 0 and throws a {@link SystemError} for −errno.
 *
 * @param result what a function of the addon returned
 * @param syscall its name in section 2 of the manual
 */
export function check(result: number, syscall: string, detail?: SystemErrorDetail): number {
  if (result < 0) throw new SystemError(result, syscall, detail);
  return result;
}

/** As {@link check}, for functions that return something else than a number when they succeed. */
export function checkValue<T>(result: T | number, syscall: string, detail?: SystemErrorDetail): T {
  if (typeof result === 'number') throw new SystemError(result, syscall, detail);
  return result;
}

/** Whether `result` is the error named `code`, such as 'ESRCH'. */
export function isErrno(result: number, code: keyof typeof constants.errno): boolean {
  return result === -constants.errno[code];
}

/** libuv knows the usual errors with their texts, node:os some more by name. */
function lookUp(errno: number): [code: string, text: string] {
  const known = getSystemErrorMap().get(errno);
  if (known !== undefined) return known;
  const named = Object.entries(constants.errno).find(([, number]) => number === -errno);
  return [named?.[0] ?? `E${-errno}`, 'system error'];
}
