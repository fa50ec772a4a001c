/**
 * The typed face of the addon, and its loader. Everything here mirrors `native/bind`: functions return a value
 * that is ≥ 0, or a negative errno; they throw only `TypeError`, for arguments of the wrong type. `src/posix.ts`
 * turns the errnos into errors for users; the native engine uses them as they are.
 */
import { join } from 'node:path';
import type { WaitNumbers } from './wait-result';

/** A file descriptor or count (≥ 0), or −errno. */
export type OrErrno = number;

/** By name as in prlimit(1), lower case ('nofile', 'core', 'as', …): [soft, hard]; -1 is RLIM_INFINITY. An unknown name is a TypeError. */
export type Rlimits = Readonly<Record<string, readonly [number, number]>>;

export interface NativeSpawnSpec {
  file: string;
  /** argv, argv[0] included */
  args: readonly string[];
  /** "KEY=value" lines; a line `LISTEN_PID=` (empty value) gets the child's own pid */
  env: readonly string[];
  cwd?: string;
  /** [source fd in this process, number in the child]: exactly these are open in the child, 0 to 2 included when named; 0 to 2 not named go to /dev/null */
  fds: readonly (readonly [number, number])[];
  setsid?: boolean;
  setpgid?: boolean;
  umask?: number;
  rlimits?: Rlimits;
  uid?: number;
  gid?: number;
  /** supplementary groups; set only when given */
  groups?: readonly number[];
  /** PR_SET_PDEATHSIG; 0 or absent: none */
  deathSignal?: number;
  noNewPrivs?: boolean;
  /** the program begins with SIGPIPE ignored; every other signal has its default */
  ignoreSigpipe?: boolean;
}

/** `step` names the system call that failed in parent or child: 'clone', 'setsid', 'chdir', 'setuid', 'execve', … */
export type NativeSpawnResult = { pid: number; pidfd: number } | { errno: number; step: string };

export interface NativeListenSpec {
  kind: 'tcp' | 'udp' | 'unix';
  /** numeric IPv4 or IPv6 address, or the socket path */
  address: string;
  port: number;
  backlog: number;
  reusePort: boolean;
  ipv6Only: boolean;
  /** unix: permission bits of the socket file, e.g. 0o660 */
  mode?: number;
  uid?: number;
  gid?: number;
}

export interface NativeSockName {
  family: 'IPv4' | 'IPv6' | 'unix';
  type: 'stream' | 'dgram' | 'seqpacket';
  address: string;
  port: number;
  /** in listening state (SO_ACCEPTCONN) */
  listening: boolean;
}

export interface NativeMessage {
  data: Buffer;
  /** received descriptors, all FD_CLOEXEC */
  fds: number[];
}

/** Where a fork failed. `thread`, `tid` and `syscall` (−1: it runs) name the thread in the way, where one is ('' and 0: none). */
export interface NativeForkFailure {
  step: string;
  thread: string;
  tid: number;
  syscall: number;
}

/** One epoll instance watched by the event loop with one uv_poll handle: `onEvents` gets ids, at most 256 a call. */
export interface NativePoller {
  /** id: 0 ≤ id ≤ 2^53-1. EPOLLIN, level-triggered. One call's ids were read together: one may have been removed by the handling of another before it. */
  add(fd: number, id: number): OrErrno;
  remove(fd: number): OrErrno;
  ref(): void;
  unref(): void;
  close(): void;
}

export interface Binding {
  // --- processes
  spawn(spec: NativeSpawnSpec): NativeSpawnResult;
  /** waitid(P_PIDFD) when pidfd ≥ 0, else wait4(pid). null: not ended yet; undefined: no such child (ECHILD). Never WNOHANG-less for js callers of the engine. */
  waitpid(pid: number, pidfd: number, noHang: boolean): WaitNumbers | null | undefined | number;
  /** this addon's children (spawned or forked) only; any: the raw wait3(2) */
  wait3(noHang: boolean, any: boolean): WaitNumbers | null | undefined | number;
  /** waitid(P_ALL, WSTOPPED | WCONTINUED | WNOHANG), one at a time; takes no exit away. null: nothing */
  waitStopped(): { pid: number; signal: number; stopped: boolean } | null;
  /** counts a child that another process made (clone with CLONE_PARENT, or before an execve) among this addon's own, for wait3 and adoptedChildren */
  registerChild(pid: number): void;
  pidfdOpen(pid: number): OrErrno;
  pidfdSendSignal(pidfd: number, signal: number): OrErrno;
  /** the raw wait status of a process that is no child (Linux 6.15). −EAGAIN: it lives, or its parent has not reaped it yet; −ENOTSUP: the kernel does not tell */
  pidfdExitStatus(pidfd: number): OrErrno;
  kill(pid: number, signal: number): OrErrno;
  /** pids of children that neither this addon nor libuv started (adopted as pid 1 or subreaper) */
  adoptedChildren(): number[] | number;
  setsid(): OrErrno;
  /** double fork with setsid (implied: setsid, setpgid and deathSignal are refused with −EINVAL), then exec: returns in the caller, with the daemon's pid and a pidfd that stands for it. stdio: descriptors for 0 to 2, -1 is /dev/null. See native/sys/daemon.h */
  daemonize(spec: NativeSpawnSpec & { stdio: readonly [number, number, number] }): NativeSpawnResult;
  /** execve(2) in this process; returns only on failure (−errno). fds: descriptors to clear FD_CLOEXEC on; blocked: signals left blocked over the exec */
  execve(
    file: string,
    args: readonly string[],
    env: readonly string[],
    fds: readonly number[],
    blocked: readonly number[],
  ): OrErrno;
  prctlSubreaper(on: boolean): OrErrno;
  /** how: 0 block, 1 unblock, 2 set. Returns the former mask as a list, or −errno */
  sigprocmask(how: number, signals: readonly number[]): number[] | number;
  /** before execve: blocks signals (1 to 31) in every thread, so that they stay pending. −EAGAIN after timeoutMs, with the caller's mask as it was. sigprocmask(1, …) takes it back. Linux */
  holdSignals(signals: readonly number[], timeoutMs: number): OrErrno;
  /** after execve: ends the guard of a process started with this addon in LD_PRELOAD and PREFORK_SIGNAL_GUARD (native/sys/sigguard.h). How many signals it held back; 0: there is none */
  releaseSignals(): number;

  // --- descriptors
  close(fd: number): OrErrno;
  dup(fd: number, atLeast: number): OrErrno;
  dup2(from: number, to: number): OrErrno;
  setCloexec(fd: number): OrErrno;
  clearCloexec(fd: number): OrErrno;
  /** flock(2) non-blocking unless block. op: 'ex' | 'sh' | 'un' */
  flock(fd: number, op: 'ex' | 'sh' | 'un', block: boolean): OrErrno;
  memfd(name: string, bytes: number): OrErrno;
  /** F_ADD_SEALS: any of 'seal','shrink','grow','write' */
  addSeals(fd: number, seals: readonly string[]): OrErrno;
  /** MAP_SHARED view of a descriptor; unmapped when collected */
  mmap(fd: number, offset: number, bytes: number, writable: boolean): ArrayBuffer | number;

  // --- sockets
  listen(spec: NativeListenSpec): OrErrno;
  sockname(fd: number): NativeSockName | number;
  /** AF_UNIX SOCK_SEQPACKET (SOCK_DGRAM where missing), both ends FD_CLOEXEC, non-blocking */
  channelPair(): [number, number] | number;
  /** one packet with descriptors. −EAGAIN when the peer's queue is full, −EPIPE when it is gone */
  sendMessage(fd: number, data: Uint8Array, fds: readonly number[]): OrErrno;
  /** one packet. number: 0 on end of file, −EAGAIN when none is waiting. timeoutMs: poll(2) first; 0 does not wait, -1 waits for ever */
  recvMessage(fd: number, maxBytes: number, timeoutMs: number): NativeMessage | number;
  peercred(fd: number): { pid: number; uid: number; gid: number } | number;
  /** one datagram to the Unix socket of that name, abstract where it begins with '\0'; does not wait. Bytes sent; −EAGAIN: its queue is full; −ENOENT, −ECONNREFUSED: nobody is there */
  sendUnixDatagram(path: string, data: string): OrErrno;

  /** a TCP listener drops new connection requests; those begun before complete (SO_ATTACH_FILTER, Linux). −ENOTSUP elsewhere */
  dropSyn(fd: number): OrErrno;

  // --- waiting
  createPoller(onEvents: (ids: number[]) => void): NativePoller | number;

  // --- fork without exec (Linux with glibc on x64 or arm64; main thread only)
  /** flags: 1 lets other threads sleep in any system call, not in futex and epoll waits alone. deathSignal: sent to the child when this process ends; 0: none. 0 in the child, its pid in the parent; −errno: see `forkFailure` */
  fork(flags: number, deathSignal: number): OrErrno;
  /** what was in the way of the last fork() that failed */
  forkFailure(): NativeForkFailure;
  forkSupport(): { ok: boolean; reason: string | null };
  /** Blocks, and forks a child of this process' parent for each packet on `channel`, answering each (src/preload/protocol.ts). In every child: what was sent for it. In this process: 0 once the other side has closed, or −errno */
  serveForks(channel: number, flags: number, deathSignal: number): NativeMessage | number;
  /** In a child of serveForks that has come to where it serves: later ones get the pages that it had to touch at once. Count of pages; 0 where they are known */
  learnHotPages(): OrErrno;
  /** getpid(2), which process.pid is a copy of */
  getpid(): number;
  /** Collects all garbage and gives memory back, that of the young generation included. false: this Node does not offer it */
  reduceHeap(): boolean;
  /** requests of the event loop under way: thread-pool work, connects, writes */
  activeRequests(): number;
  /** _exit(2): no handlers, nothing flushed */
  exitNow(code: number): void;
  /** Lets a context's own Math.random, which has just given `drawn`, go on from 16 bytes, not all zero. false: this V8 is laid out otherwise */
  reseedMathRandom(random: () => number, drawn: number, seed: Uint8Array): boolean;
  /** Calls back whenever the event loop is about to block with no request under way; keeps it alive until stopped */
  watchIdle(onIdle: () => void): { stop(): void } | number;

  // --- facts
  features(): {
    pidfd: boolean;
    waitidPidfd: boolean;
    closeRange: boolean;
    memfd: boolean;
    platform: string;
    libc: string;
    addonVersion: string;
  };
}

export interface BindingLoad {
  binding: Binding | null;
  /** why the addon did not load, one line; null when it did */
  reason: string | null;
}

/** node-gyp-build: prefers what was built here to what came with the package. */
interface AddonFinder {
  (root: string): Binding;
  resolve(root: string): string;
}

const ROOT = join(__dirname, '..', '..');

/** The addon's file, whether or not it loads. Throws where there is none for this machine. */
export function addonFile(): string {
  return finder().resolve(ROOT);
}

function finder(): AddonFinder {
  return require('node-gyp-build') as AddonFinder;
}

let loaded: BindingLoad | undefined;

/** Loads the addon once. `PREFORK_ENGINE=js` in the environment makes as if it were missing. */
export function loadBinding(): BindingLoad {
  loaded ??= load();
  return loaded;
}

function load(): BindingLoad {
  if (process.env.PREFORK_ENGINE === 'js') {
    return { binding: null, reason: 'PREFORK_ENGINE=js is set' };
  }
  try {
    return { binding: finder()(ROOT), reason: null };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { binding: null, reason: message.split('\n', 1)[0] ?? message };
  }
}
