/** Memory shared between processes by descriptor. */
import { check, checkValue } from '../system-error';
import { addon } from './addon';

/** What can no longer be done to the file: more seals, shrinking, growing, writing. */
export type Seal = 'seal' | 'shrink' | 'grow' | 'write';

/**
 * A file in memory without a name in any directory: zeroed, sealable, FD_CLOEXEC.
 *
 * @param name for /proc/self/fd alone
 * @param bytes its size
 * @throws SystemError `EMFILE`, `ENFILE`, `ENOMEM`; `ENOSYS`: the kernel has none
 * @platform Linux 3.17; macOS (a nameless temporary file, untested)
 * @see memfd_create(2)
 */
export function memfd(name: string, bytes: number): number {
  return check(addon().memfd(name, bytes), 'memfd_create');
}

/**
 * Adds seals, which cannot be taken off.
 * @throws SystemError `EPERM`: sealed against seals; `EBUSY`: 'write' while it is mapped to be written; `EINVAL`: not sealable; `ENOSYS` on macOS
 * @platform Linux 3.17
 * @see fcntl(2), F_ADD_SEALS
 */
export function addSeals(fd: number, seals: readonly Seal[]): void {
  check(addon().addSeals(fd, seals), 'fcntl');
}

/**
 * Maps a descriptor, MAP_SHARED. Unmapped when it is garbage-collected; the descriptor may be closed before. Writing to a
 * mapping that is not writable, or touching one whose file has been cut, ends the process: seal against 'shrink'.
 *
 * @param offset a multiple of the page size
 * @param bytes at least 1
 * @throws SystemError `EINVAL`: offset; `ENXIO`: beyond the end of the file; `EACCES`: not open for that; `ENOTSUP`: a runtime without external memory (Electron)
 * @platform Linux, macOS (untested)
 * @see mmap(2)
 */
export function mmap(fd: number, offset: number, bytes: number, writable: boolean): ArrayBuffer {
  return checkValue<ArrayBuffer>(addon().mmap(fd, offset, bytes, writable), 'mmap');
}
