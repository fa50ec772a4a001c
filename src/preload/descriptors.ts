/** The open descriptors of this process, as /proc shows them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:fs';

export type DescriptorKind =
  | 'file'
  | 'device'
  | 'pipe'
  | 'socket'
  | 'memory'
  | 'private'
  | 'process'
  | 'other';

export interface Descriptor {
  readonly fd: number;
  /** a path, or `socket:[123]`, `pipe:[123]`, `anon_inode:[eventpoll]` */
  readonly target: string;
  readonly kind: DescriptorKind;
  readonly append: boolean;
  /** open since the start of the program: nothing in Node opens one that an exec would keep */
  readonly inherited: boolean;
}

const O_CLOEXEC = 0o2000000;

/** Ascending. */
export function openDescriptors(): Descriptor[] {
  const list: Descriptor[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = describeDescriptor(Number(name));
    if (descriptor !== null) list.push(descriptor);
  }
  return list.sort((a, b) => a.fd - b.fd);
}

/** null: it is closed by now, such as the one that read the directory. */
function describeDescriptor(fd: number): Descriptor | null {
  try {
    const target = readlinkSync(`/proc/self/fd/${fd}`);
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
    const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(info)?.[1] ?? '0', 8);
    return {
      fd,
      target,
      kind: kindOf(target),
      append: (flags & constants.O_APPEND) !== 0,
      inherited: (flags & O_CLOEXEC) === 0,
    };
  } catch {
    return null;
  }
}

/** The descriptors that an epoll instance watches. */
export function watchedBy(epoll: number): number[] {
  const info = readFileSync(`/proc/self/fdinfo/${epoll}`, 'latin1');
  return [...info.matchAll(/^tfd:\s*(\d+)/gm)].map(([, fd]) => Number(fd));
}

function kindOf(target: string): DescriptorKind {
  if (target.startsWith('socket:')) return 'socket';
  if (target.startsWith('pipe:')) return 'pipe';
  if (target.startsWith('/memfd:') || target.startsWith('/dev/shm/')) return 'memory';
  if (target.startsWith('/dev/')) return 'device';
  if (target === 'anon_inode:[pidfd]' || target.startsWith('pidfd:')) return 'process';
  // A fork gives the child its own of the first two; an io_uring of libuv's is the event loop's.
  if (/^anon_inode:\[(eventpoll|eventfd|io_uring)\]$/.test(target)) return 'private';
  return target.startsWith('/') ? 'file' : 'other';
}
