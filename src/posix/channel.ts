/** Packets with descriptors between processes. */
import type { NativeMessage } from '../engine/binding';
import { check, checkValue, isErrno } from '../system-error';
import { addon } from './addon';

/** What goes along with a bare descriptor: a packet cannot be empty. */
const NO_DATA = new Uint8Array(1);
const DEFAULT_MAX_BYTES = 65_536;

export interface ReceiveOptions {
  /** Longest packet, 1 to 16 MiB; 64 KiB by default. A longer one is lost, `EMSGSIZE` */
  maxBytes?: number;
  /** Milliseconds to wait, blocking the thread; 0 (default) does not wait, -1 waits for ever */
  timeoutMs?: number;
}

/**
 * Two connected packet sockets, FD_CLOEXEC and non-blocking: one to keep, one to pass on.
 * @throws SystemError `EMFILE`, `ENFILE`
 * @platform Linux (SOCK_SEQPACKET), macOS (SOCK_DGRAM, untested)
 * @see socketpair(2), unix(7)
 */
export function channelPair(): [number, number] {
  return checkValue<[number, number]>(addon().channelPair(), 'socketpair');
}

/**
 * Sends one packet, whole or not at all, with at most 253 descriptors.
 *
 * @returns false: the peer's queue is full, try again when it has read
 * @throws SystemError `EPIPE`: the peer is gone; `EMSGSIZE`; `EINVAL`: no data, or too many descriptors; `EBADF`;
 *   `ETOOMANYREFS`: too many descriptors on their way
 * @platform Linux, macOS (untested)
 * @see sendmsg(2), unix(7), SCM_RIGHTS
 */
export function sendMessage(socket: number, data: Uint8Array, fds: readonly number[] = []): boolean {
  const sent = addon().sendMessage(socket, data, fds);
  if (isErrno(sent, 'EAGAIN')) return false;
  check(sent, 'sendmsg');
  return true;
}

/**
 * Receives one packet. Its descriptors are FD_CLOEXEC and the caller's to close.
 *
 * @returns null: none is waiting; undefined: the peer has closed
 * @throws SystemError `EMSGSIZE`: longer than `maxBytes`; `EMFILE`: its descriptors found no room. The packet is lost in both cases. `EBADF`; `ENOTSOCK`
 * @platform Linux, macOS (untested)
 * @see recvmsg(2), unix(7)
 */
export function recvMessage(socket: number, options: ReceiveOptions = {}): NativeMessage | null | undefined {
  const { maxBytes = DEFAULT_MAX_BYTES, timeoutMs = 0 } = options;
  const message = addon().recvMessage(socket, maxBytes, timeoutMs);
  if (message === 0) return undefined;
  if (typeof message === 'number' && isErrno(message, 'EAGAIN')) return null;
  return checkValue<NativeMessage>(message, 'recvmsg');
}

/**
 * Sends one descriptor, which stays open here too.
 *
 * @returns false: the peer's queue is full
 * @throws SystemError as {@link sendMessage}
 * @platform Linux, macOS (untested)
 */
export function sendFd(socket: number, fd: number): boolean {
  return sendMessage(socket, NO_DATA, [fd]);
}

/**
 * Receives one descriptor, FD_CLOEXEC and the caller's to close. More than one in the packet are closed.
 *
 * @returns null: nothing is waiting, or the packet had none; undefined: the peer has closed
 * @throws SystemError as {@link recvMessage}
 * @platform Linux, macOS (untested)
 */
export function recvFd(socket: number, options: ReceiveOptions = {}): number | null | undefined {
  const message = recvMessage(socket, options);
  if (message === null || message === undefined) return message;
  const [first, ...others] = message.fds;
  for (const fd of others) addon().close(fd);
  return first ?? null;
}
