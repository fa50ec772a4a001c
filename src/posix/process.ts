/** This process's place among others: sessions, daemons, adopted children, another program in its place. */
import { SystemError, check, checkValue } from '../system-error';
import { addon } from './addon';
import { type SignalArgument, toSignalNumber } from './signal';
import { type ProgramOptions, pathOfStep, toNativeSpec } from './spawn-options';

/**
 * Makes this process the leader of a new session without a terminal.
 *
 * @returns the session's id, which is the pid
 * @throws SystemError `EPERM`: it leads a process group already, as every program that a shell starts does
 * @platform Linux, macOS (untested)
 * @see setsid(2)
 */
export function setsid(): number {
  return check(addon().setsid(), 'setsid');
}

/** A process that is not a child of this one. */
export interface Daemon {
  pid: number;
  /** Stands for it without a race, readable once it has ended; close it. −1 where the kernel has none */
  pidfd: number;
}

/**
 * Starts a program as a daemon: double fork with setsid in between, then exec, so that it is a child of init (or of the nearest subreaper),
 * in a session that it does not lead, and can never get a terminal. This process goes on: to daemonize *it*, start
 * it again (`process.execPath`, `process.argv.slice(1)`) and leave.
 *
 * @param options `stdio` is /dev/null by default
 * @throws SystemError as {@link spawn}: `syscall` is the step that failed
 * @platform Linux, macOS (untested)
 * @see daemon(7), setsid(2)
 */
export function daemonize(file: string, args: readonly string[] = [], options: ProgramOptions = {}): Daemon {
  const { stdio = [null, null, null], ...rest } = options;
  const [stdin, stdout, stderr] = stdio;
  const result = addon().daemonize({
    ...toNativeSpec(file, args, { ...rest, stdio: [null, null, null] }),
    stdio: [stdin ?? -1, stdout ?? -1, stderr ?? -1],
  });
  if ('errno' in result)
    throw new SystemError(result.errno, result.step, pathOfStep(result.step, file, options));
  return result;
}

export interface ExecOptions {
  /** `argv[0]`; the file by default */
  argv0?: string;
  /** the whole environment; `process.env` by default */
  env?: Readonly<Record<string, string | undefined>>;
  /** descriptors to keep open beside 0, 1 and 2 */
  keepFds?: readonly number[];
  /** signals that are left blocked for the new program; no others are */
  blocked?: readonly SignalArgument[];
}

/**
 * Replaces this program by another in the same process: same pid, same children, all threads gone. No exit handler runs and nothing is
 * flushed. Children, and zombies, have to be waited for by the new program.
 *
 * @param file a path; `PATH` is not searched
 * @param args without `argv[0]`
 * @throws SystemError `ENOENT`, `EACCES`, `ENOEXEC`, `E2BIG`, …; `EBADF` for a descriptor of `keepFds`. All is as before then
 * @platform Linux; macOS untested
 * @see execve(2)
 */
export function exec(file: string, args: readonly string[] = [], options: ExecOptions = {}): never {
  const { argv0 = file, env = process.env, keepFds = [], blocked = [] } = options;
  const lines: string[] = [];
  for (const [key, value] of Object.entries(env)) if (value !== undefined) lines.push(`${key}=${value}`);
  const errno = addon().execve(file, [argv0, ...args], lines, keepFds, blocked.map(toSignalNumber));
  throw new SystemError(errno, 'execve', { path: file });
}

/**
 * Whether orphans among this process's descendants become its children, as they do pid 1's. They are found with
 * {@link adoptedChildren} and must be waited for.
 *
 * @throws SystemError `ENOSYS` on macOS
 * @platform Linux 3.4
 * @see prctl(2), PR_SET_CHILD_SUBREAPER
 */
export function setSubreaper(on: boolean): void {
  check(addon().prctlSubreaper(on), 'prctl');
}

/**
 * Pids of children that neither this addon nor child_process (on this thread) started: adopted as pid 1 or as a
 * subreaper, or left from before an `exec`. The dead but unreaped are among them.
 *
 * @throws SystemError `ENOENT` where /proc is not mounted; `ENOSYS` on macOS
 * @platform Linux
 * @see proc(5), /proc/pid/task/tid/children
 */
export function adoptedChildren(): number[] {
  return checkValue<number[]>(addon().adoptedChildren(), 'adoptedChildren');
}
