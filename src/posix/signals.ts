/** Signals: sending them, and the mask of the calling thread. */
import { signalName } from '../engine/errno';
import { check, checkValue, isErrno } from '../system-error';
import { addon } from './addon';
import { Child } from './child';
import { type SignalArgument, toSignalNumber } from './signal';

/**
 * Sends a signal: to a child by its pidfd, which cannot hit another process that got the pid; to a pid as kill(2) does.
 *
 * @param target a child; a pid > 0; 0 for the own process group; -pgid for a process group
 * @param signal 0 only asks whether it exists
 * @returns false: there is no such process, or the child has been reaped
 * @throws SystemError `EPERM`: not allowed. TypeError: not a signal
 * @platform Linux, macOS (untested, by pid)
 * @see kill(2), pidfd_send_signal(2)
 */
export function kill(target: Child | number, signal: SignalArgument = 'SIGTERM'): boolean {
  if (target instanceof Child) return target.kill(signal);
  const result = addon().kill(target, toSignalNumber(signal));
  if (isErrno(result, 'ESRCH')) return false;
  check(result, 'kill', { pid: target });
  return true;
}

/**
 * A descriptor, FD_CLOEXEC, that stands for a process and is readable once it has ended. Close it with `close()`.
 *
 * @throws SystemError `ESRCH`: no such process; `EMFILE`, `ENFILE`; `EINVAL`: pid ≤ 0; `ENOSYS`: the kernel has none
 * @platform Linux 5.3
 * @see pidfd_open(2)
 */
export function pidfdOpen(pid: number): number {
  return check(addon().pidfdOpen(pid), 'pidfd_open', { pid });
}

/**
 * Sends a signal to the process that a pidfd stands for.
 *
 * @returns false: it has ended and been reaped
 * @throws SystemError `EPERM`; `EBADF`: not a pidfd; `ENOSYS`
 * @platform Linux 5.1
 * @see pidfd_send_signal(2)
 */
export function pidfdKill(pidfd: number, signal: SignalArgument = 'SIGTERM'): boolean {
  const result = addon().pidfdSendSignal(pidfd, toSignalNumber(signal));
  if (isErrno(result, 'ESRCH')) return false;
  check(result, 'pidfd_send_signal');
  return true;
}

const MASK_CHANGES = { block: 0, unblock: 1, set: 2 } as const;

/**
 * Changes which signals are blocked in the calling thread: on the main thread those that Node handles too. Blocked ones stay pending. Node
 * starts its own threads with everything blocked but what it needs, so that a signal to the process waits for this thread.
 *
 * @param how whether `signals` are blocked in addition, no longer, or they and no others
 * @returns what was blocked before; numbers for signals without a name
 * @throws SystemError `EINVAL` for 0. SIGKILL and SIGSTOP are ignored
 * @platform Linux, macOS (untested)
 * @see pthread_sigmask(3), sigprocmask(2)
 */
export function sigprocmask(
  how: keyof typeof MASK_CHANGES,
  signals: readonly SignalArgument[] = [],
): SignalArgument[] {
  if (!Object.hasOwn(MASK_CHANGES, how)) throw new TypeError("how must be 'block', 'unblock' or 'set'");
  const former = addon().sigprocmask(MASK_CHANGES[how], signals.map(toSignalNumber));
  return checkValue<number[]>(former, 'sigprocmask').map((number) => signalName(number) ?? number);
}
