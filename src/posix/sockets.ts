/** Listening sockets that are nobody's yet: bare descriptors to pass on. */
import type { NativeSockName } from '../engine/binding';
import { check, checkValue } from '../system-error';
import { addon } from './addon';

export interface InetListenOptions {
  kind: 'tcp' | 'udp';
  /** numeric IPv4 or IPv6 address, with %scope where needed */
  address: string;
  /** 0 to 65535; 0 is any free one */
  port: number;
  /** length of the queue of connections, 511 by default; the kernel caps it (net.core.somaxconn) */
  backlog?: number;
  /** SO_REUSEPORT: several sockets on one address, each with its own queue */
  reusePort?: boolean;
  /** IPV6_V6ONLY; false by default, so that `::` takes IPv4 as well */
  ipv6Only?: boolean;
}

export interface UnixListenOptions {
  kind: 'unix';
  /** at most 107 bytes (macOS 103). A leading zero byte: Linux's abstract namespace */
  address: string;
  backlog?: number;
  /** Permission bits of the file, which never has more than these. By default as the umask leaves them */
  mode?: number;
  uid?: number;
  gid?: number;
}

/**
 * Opens a listening socket (for UDP a bound one): non-blocking, FD_CLOEXEC. TCP has SO_REUSEADDR.
 *
 * A stale Unix socket file is replaced; one that somebody serves on or is just opening never is. The file is not removed by `close()`.
 *
 * @returns the descriptor
 * @throws SystemError `EADDRINUSE`; `EACCES`: a privileged port or an unwritable directory; `EADDRNOTAVAIL`: no address of this machine;
 *   `EAFNOSUPPORT`: no IPv6; `EINVAL`: not a numeric address; `ENOTSOCK`: the path is something else than a socket; `ENAMETOOLONG`, `ENOENT`,
 *   `EROFS` of the path; `EPERM`: not allowed to give the file that owner; `EMFILE`
 * @platform Linux, macOS (untested)
 * @see socket(7), ip(7), ipv6(7), unix(7), listen(2)
 */
export function listen(options: InetListenOptions | UnixListenOptions): number {
  const { backlog = 511 } = options;
  if (options.kind === 'unix') {
    const fd = addon().listen({ port: 0, reusePort: false, ipv6Only: false, ...options, backlog });
    return check(fd, 'listen', { path: options.address });
  }
  const { reusePort = false, ipv6Only = false } = options;
  const fd = addon().listen({ ...options, backlog, reusePort, ipv6Only });
  return check(fd, 'listen', { path: `${options.address}:${options.port}` });
}

/**
 * What a socket is bound to.
 * @throws SystemError `EBADF`; `ENOTSOCK`; `EAFNOSUPPORT`: another family than IPv4, IPv6 and Unix
 * @platform Linux, macOS (untested)
 * @see getsockname(2), socket(7)
 */
export function sockname(fd: number): NativeSockName {
  return checkValue<NativeSockName>(addon().sockname(fd), 'getsockname');
}

/** Who made the connection at the other end of a Unix socket, at that time. */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/**
 * @param fd a connected Unix socket
 * @throws SystemError `EBADF`; `ENOTSOCK`; `ENOTCONN`, `EINVAL`: not connected, or not a Unix socket
 * @platform Linux, macOS (untested)
 * @see unix(7), SO_PEERCRED
 */
export function peercred(fd: number): PeerCredentials {
  return checkValue<PeerCredentials>(addon().peercred(fd), 'getsockopt');
}
