/**
 * `prefork/posix`: system calls for those who write their own manager. Linux; macOS is guarded for in the source and untested.
 *
 * Everything here needs the addon: where it did not load, each call throws a PreforkError `ERR_PREFORK_ADDON_MISSING`. A system call
 * that fails throws a {@link SystemError}; what is a normal outcome (nothing has ended yet, no such child, would block) is a return
 * value. Arguments of the wrong type are TypeErrors. Descriptors that are opened here are FD_CLOEXEC.
 *
 * @packageDocumentation
 */
export type { NativeMessage as Message, NativeSockName as SockName } from './engine/binding';
export type { Rusage } from './engine/wait-result';
export { type ReceiveOptions, channelPair, recvFd, recvMessage, sendFd, sendMessage } from './posix/channel';
export type { Child } from './posix/child';
export { type FlockOperation, clearCloexec, close, dup, dup2, flock, setCloexec } from './posix/descriptors';
export { type Features, features } from './posix/features';
export { type Seal, addSeals, memfd, mmap } from './posix/memory';
export {
  type Daemon,
  type ExecOptions,
  adoptedChildren,
  daemonize,
  exec,
  setSubreaper,
  setsid,
} from './posix/process';
export { type ForkOptions, fork } from './posix/fork';
export type { SignalArgument } from './posix/signal';
export { kill, pidfdKill, pidfdOpen, sigprocmask } from './posix/signals';
export {
  type InetListenOptions,
  type PeerCredentials,
  type UnixListenOptions,
  listen,
  peercred,
  sockname,
} from './posix/sockets';
export { type SpawnOptions, spawn } from './posix/spawn';
export type { ProgramOptions, Resource } from './posix/spawn-options';
export { type Wait3Options, type WaitOptions, type WaitResult, wait3, waitpid } from './posix/wait';
export { type ExitCallback, watchExit } from './posix/watch';
export { SystemError } from './system-error';
