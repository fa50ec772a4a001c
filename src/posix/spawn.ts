import { SystemError } from '../system-error';
import { addon } from './addon';
import { Child } from './child';
import { type SignalArgument, toSignalNumber } from './signal';
import { type ProgramOptions, pathOfStep, toNativeSpec } from './spawn-options';

export interface SpawnOptions extends ProgramOptions {
  /** a session of its own, setsid(2) */
  setsid?: boolean;
  /** a process group of its own, setpgid(2) */
  setpgid?: boolean;
  /** Linux: the signal that it gets when the *thread* that spawned it ends, PR_SET_PDEATHSIG. Survives a change of `uid`; not the exec of a set-user-id program */
  deathSignal?: SignalArgument;
}

/**
 * Starts a program: fork and exec in one call that returns once the exec is done, or names the step that failed.
 * Signals are blocked meanwhile; the child starts with none blocked and none ignored. Before the exec it goes through: setsid
 * or setpgid, rlimits, umask, chdir, setgroups, setgid, setuid, no_new_privs, death signal, descriptors.
 *
 * Unlike child_process, nothing waits for the child by itself: {@link watchExit}, {@link waitpid} or {@link wait3}
 * must, or it remains as a zombie. child_process never takes its exit.
 *
 * @param file a path, or a name that is looked for along `PATH` of the child's environment. A script without `#!` is ENOEXEC: no shell is tried
 * @param args without `argv[0]`
 * @returns the running child
 * @throws SystemError whose `syscall` is the step: `ENOENT`, `EACCES`, `ENOEXEC`, `E2BIG`, `ETXTBSY` of execve (`path` is the file) or chdir
 *   (`path` is the directory), `EAGAIN` or `ENOMEM` of clone, `EMFILE` or `ENFILE` of pipe2, clone or fcntl, `EBADF` of fcntl for a descriptor that is not open,
 *   `EPERM` of setuid, setgid, setgroups, setrlimit, `EINVAL` of fds for a number named twice. A child that failed has been reaped
 * @throws TypeError for arguments of the wrong type, strings with zero bytes, unknown resource names
 * @platform Linux; macOS untested
 * @see fork(2), clone(2), execve(2), prctl(2)
 */
export function spawn(file: string, args: readonly string[] = [], options: SpawnOptions = {}): Child {
  const { setsid, setpgid, deathSignal } = options;
  const result = addon().spawn({
    ...toNativeSpec(file, args, options),
    ...(setsid !== undefined && { setsid }),
    ...(setpgid !== undefined && { setpgid }),
    ...(deathSignal !== undefined && { deathSignal: toSignalNumber(deathSignal) }),
  });
  if ('errno' in result)
    throw new SystemError(result.errno, result.step, pathOfStep(result.step, file, options));
  return new Child(result.pid, result.pidfd);
}
