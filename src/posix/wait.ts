import { decodeStatus } from '../engine/errno';
import { type Rusage, type WaitNumbers, waitResult } from '../engine/wait-result';
import { check } from '../system-error';
import { addon } from './addon';
import { type Child, liveChild } from './child';

/** How a child ended, and what it used. */
export interface WaitResult {
  pid: number;
  /** the raw wait status, as `$?` in Perl */
  status: number;
  /** null where a signal ended it */
  exitCode: number | null;
  /** null where it exited, or where the signal has no name (real-time signals: `status & 0x7f`) */
  signal: NodeJS.Signals | null;
  /** Of the child and those of its children that it waited for, getrusage(2). `maxRssBytes` counts this process's own size at the spawn too, as Linux does */
  rusage: Rusage;
}

export interface WaitOptions {
  /** WNOHANG: do not wait for an end. Without it the call blocks the thread, event loop and all */
  noHang?: boolean;
}

export interface Wait3Options extends WaitOptions {
  /** the raw call: any child of the process. Takes exits away from child_process, which then never reports them */
  any?: boolean;
}

/**
 * Waits for one child and reaps it: by its pidfd, which cannot be mistaken for another process, or by pid.
 * A pid of child_process's takes the exit away from it.
 *
 * @param child what `spawn` returned, or a pid > 0
 * @returns null: it has not ended yet (only with `noHang`); undefined: it is no child of this process, or has been reaped
 * @throws SystemError `EINVAL` for a pid that is not > 0
 * @platform Linux, macOS (untested)
 * @see waitpid(2), waitid(2), wait4(2)
 */
export function waitpid(child: Child | number, options: WaitOptions = {}): WaitResult | null | undefined {
  const known = typeof child === 'number' ? liveChild(child) : child;
  if (known?.reaped) return undefined;
  const pid = known?.pid ?? (child as number);
  const result = outcome(addon().waitpid(pid, known?.pidfd ?? -1, options.noHang ?? false), 'waitpid', pid);
  if (result === undefined) known?.markReaped(undefined);
  return result;
}

/**
 * Waits for any child that this addon started (spawned or forked) and reaps it. Children of child_process are not considered, unless
 * `any` is given.
 *
 * @returns null: none has ended yet (only with `noHang`); undefined: there is no such child
 * @platform Linux, macOS (untested)
 * @see wait3(2), wait4(2)
 */
export function wait3(options: Wait3Options = {}): WaitResult | null | undefined {
  return outcome(addon().wait3(options.noHang ?? false, options.any ?? false), 'wait3');
}

/** What the addon returned for a wait, the child's book-keeping brought up to date. */
function outcome(
  result: WaitNumbers | null | undefined | number,
  syscall: string,
  pid?: number,
): WaitResult | null | undefined {
  if (typeof result === 'number') {
    check(result, syscall, pid === undefined ? undefined : { pid });
    return undefined;
  }
  if (result === null || result === undefined) return result;
  const { pid: ended, status, rusage } = waitResult(result);
  const waited: WaitResult = { pid: ended, status, ...decodeStatus(status), rusage };
  liveChild(ended)?.markReaped(waited);
  return waited;
}
