/** Descriptors: flags, copies, locks. */
import { check, isErrno } from '../system-error';
import { addon } from './addon';

/**
 * Marks a descriptor as closed by exec.
 * @throws SystemError `EBADF`
 * @platform Linux, macOS (untested)
 * @see fcntl(2), FD_CLOEXEC
 */
export function setCloexec(fd: number): void {
  check(addon().setCloexec(fd), 'fcntl');
}

/**
 * Lets a descriptor pass through exec: those of child_process and of other threads too, so prefer `spawn` with `fds`.
 * @throws SystemError `EBADF`
 * @platform Linux, macOS (untested)
 * @see fcntl(2), FD_CLOEXEC
 */
export function clearCloexec(fd: number): void {
  check(addon().clearCloexec(fd), 'fcntl');
}

/**
 * Copies a descriptor to the lowest free number that is not below `atLeast`. The copy is closed by exec.
 * @throws SystemError `EBADF`; `EMFILE`; `EINVAL`: `atLeast` is beyond the limit
 * @platform Linux, macOS (untested)
 * @see fcntl(2), F_DUPFD_CLOEXEC
 */
export function dup(fd: number, atLeast = 0): number {
  return check(addon().dup(fd, atLeast), 'fcntl');
}

/**
 * Copies a descriptor to a given number, closing what is there. The copy is closed by exec.
 * @throws SystemError `EBADF`, also for a number beyond the limit
 * @platform Linux, macOS (untested)
 * @see dup2(2)
 */
export function dup2(from: number, to: number): number {
  return check(addon().dup2(from, to), 'dup2');
}

/**
 * Closes a descriptor.
 * @throws SystemError `EBADF`; `EIO` and `ENOSPC` of network file systems: it is closed all the same
 * @platform Linux, macOS (untested)
 * @see close(2)
 */
export function close(fd: number): void {
  check(addon().close(fd), 'close');
}

/** Exclusive, shared, unlock. */
export type FlockOperation = 'ex' | 'sh' | 'un';

/**
 * Locks an open file. The lock is the open file's: copies and children share it, and it ends with the last of them.
 *
 * @param options noHang: do not wait. Without it the call blocks the thread, event loop and all
 * @returns false: somebody else holds it (only with `noHang`)
 * @throws SystemError `EBADF`; `ENOLCK`
 * @platform Linux, macOS (untested)
 * @see flock(2)
 */
export function flock(fd: number, operation: FlockOperation, options: { noHang?: boolean } = {}): boolean {
  const result = addon().flock(fd, operation, !(options.noHang ?? false));
  if (isErrno(result, 'EWOULDBLOCK')) return false;
  check(result, 'flock');
  return true;
}
