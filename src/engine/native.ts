/** The engine over the addon: children by clone and pidfd, messages over SOCK_SEQPACKET, one epoll instance for all. */
import { MAX_MESSAGE_BYTES } from '../worker/protocol';
import type { Binding, NativePoller } from './binding';
import { nowMs } from './clock';
import type {
  Capabilities,
  Engine,
  EngineEvent,
  EngineListener,
  ListenResult,
  ListenSpec,
  PreloadEvent,
  Signal,
  SpawnResult,
  SpawnSpec,
  WorkerHandle,
} from './engine';
import { decodeStatus, errnoCode, errnoNumber, signalNumber, UNKNOWN_STATUS } from './errno';
import { EventQueue } from './events';
import { type ForkserverHandover, Forkservers } from './forkservers';
import { type Rusage, waitResult } from './wait-result';

/** Descriptor number of the channel in a worker comes after its listeners. */
const FIRST_INHERITED_FD = 3;
/** For the reaper of a worker that is not ours; one that never reaps tells nothing. */
const STATUS_WAIT_MS = 1000;
const STATUS_PAUSE_MS = 20;
/** Packets taken from one worker before the others have their turn. */
const MAX_PACKETS_A_TURN = 64;

/** A worker's descriptors in this process. */
export interface Child extends WorkerHandle {
  /** −1 on kernels without pidfd_open(2) */
  pidfd: number;
  /** −1: none, or closed by the worker */
  channel: number;
  /** of a manager that was killed: somebody else reaps it */
  readonly isForeign?: boolean;
}

/** What is left of an engine when its process replaces itself: plain data, and descriptors that are kept open. */
export interface EngineHandover {
  readonly children: readonly Readonly<Child>[];
  /** come, but given to nobody yet */
  readonly events: readonly EngineEvent[];
  readonly forkservers: readonly ForkserverHandover[];
}

export class NativeEngine implements Engine {
  readonly name = 'native';
  readonly capabilities: Capabilities;
  /** told what becomes of forkservers */
  onPreload: ((event: PreloadEvent) => void) | null = null;
  readonly #binding: Binding;
  readonly #poller: NativePoller;
  readonly #queue = new EventQueue();
  /** by worker id */
  readonly #children = new Map<number, Child>();
  readonly #byPid = new Map<number, Child>();
  readonly #forkservers: Forkservers;
  readonly #adoptsOrphans = process.pid === 1;
  readonly #onSigchld = (): void => this.#onChildSignal();

  constructor(binding: Binding) {
    this.#binding = binding;
    const linux = binding.features().platform === 'linux';
    this.capabilities = {
      rusage: true,
      parentDeathSignal: linux,
      listenPid: true,
      flock: true,
      childCredentials: true,
      childLimits: true,
      managerUpgrade: linux,
      sdNotify: linux,
      peerCredentials: true,
      stopEvents: true,
      reusePort: true,
      udp: true,
      fork: binding.forkSupport().ok,
      scoreboard: linux,
    };
    const poller = binding.createPoller((ids) => this.#onReadable(ids));
    if (typeof poller === 'number') throw new Error(`cannot create an epoll instance: ${errnoCode(poller)}`);
    this.#poller = poller;
    this.#forkservers = new Forkservers({
      binding,
      poller,
      start: (spec) => this.#start(spec),
      adopt: (workerId, pid, channel) => {
        const handle = this.adopt(workerId, pid, binding.pidfdOpen(pid), channel);
        this.#queue.push({ type: 'spawned', workerId, handle });
      },
      push: (event) => this.#queue.push(event),
      tell: (event) => this.onPreload?.(event),
    });
    process.on('SIGCHLD', this.#onSigchld);
  }

  spawn(spec: SpawnSpec): SpawnResult {
    if (spec.forkserver !== undefined) {
      const problem = this.#forkservers.spawn(spec);
      return problem === null ? { pending: true } : failure(problem.errno, problem.step);
    }
    const result = this.#start(spec);
    if ('errno' in result) return failure(result.errno, result.step);
    return { handle: this.#watch(spec.workerId, result.pid, result.pidfd, result.channel) };
  }

  #start(spec: SpawnSpec): { pid: number; pidfd: number; channel: number } | { errno: number; step: string } {
    const pair = spec.channel ? this.#binding.channelPair() : null;
    if (typeof pair === 'number') return { errno: pair, step: 'socketpair' };
    const [ours, theirs] = pair ?? [-1, -1];
    const channelFd = FIRST_INHERITED_FD + spec.inherit.length;
    const { file, args, cwd, umask, uid, gid, groups, noNewPrivs, ignoreSigpipe, setsid } = spec;
    const result = this.#binding.spawn({
      file,
      args,
      env: environment(spec.env, spec.channel ? channelFd : null),
      fds: placement(spec, theirs, channelFd),
      setsid,
      ...(cwd !== undefined && { cwd }),
      ...(umask !== undefined && { umask }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
      ...(groups !== undefined && { groups }),
      ...(noNewPrivs !== undefined && { noNewPrivs }),
      ...(ignoreSigpipe !== undefined && { ignoreSigpipe }),
      deathSignal: spec.dieWithManager ? signalNumber('SIGKILL') : 0,
    });
    if (theirs >= 0) this.#binding.close(theirs);
    if ('errno' in result && ours >= 0) this.#binding.close(ours);
    return 'errno' in result ? result : { ...result, channel: ours };
  }

  /** Takes over a child that this process has already: one that a forkserver forked, or from before an upgrade. */
  adopt(workerId: number, pid: number, pidfd: number, channel: number): WorkerHandle {
    this.#binding.registerChild(pid);
    return this.#watch(workerId, pid, pidfd, channel);
  }

  /** Watches a worker that is no child of this process: of its end the pidfd tells, of the status perhaps the kernel. */
  adoptForeign(workerId: number, pid: number, pidfd: number, channel: number): WorkerHandle {
    return this.#watch(workerId, pid, pidfd, channel, true);
  }

  /** Everything that an engine in a successor of this process needs to go on; changes nothing here. */
  handOver(): EngineHandover {
    return {
      children: [...this.#children.values()].map((child) => ({ ...child })),
      events: this.#queue.waiting,
      forkservers: this.#forkservers.handOver(),
    };
  }

  /** Goes on from where an engine was that ran in this process before an execve(2). */
  takeOver({ children, events, forkservers }: EngineHandover): void {
    this.#forkservers.takeOver(forkservers);
    for (const { workerId, pid, pidfd, channel, isForeign } of children) {
      for (const fd of [pidfd, channel]) if (fd >= 0) this.#binding.setCloexec(fd);
      if (isForeign) this.adoptForeign(workerId, pid, pidfd, channel);
      else this.adopt(workerId, pid, pidfd, channel);
    }
    for (const event of events) this.#queue.push(event);
    // A SIGCHLD that came meanwhile told nobody. In a later turn, since what it collects is lost if this take-over fails.
    setImmediate(this.#onSigchld);
  }

  #watch(workerId: number, pid: number, pidfd: number, channel: number, isForeign = false): Child {
    const child: Child = { workerId, pid, pidfd, channel, isForeign };
    this.#children.set(workerId, child);
    this.#byPid.set(pid, child);
    if (pidfd >= 0) this.#poller.add(pidfd, workerId * 4);
    if (channel >= 0) this.#poller.add(channel, workerId * 4 + 1);
    return child;
  }

  signal(worker: WorkerHandle, signal: Signal): 'sent' | 'gone' {
    const child = this.#children.get(worker.workerId);
    if (child === undefined) return 'gone';
    const number = signalNumber(signal);
    // Unreaped, so that even without a pidfd the pid cannot be anybody else's.
    const result =
      child.pidfd >= 0
        ? this.#binding.pidfdSendSignal(child.pidfd, number)
        : this.#binding.kill(child.pid, number);
    return result >= 0 ? 'sent' : 'gone';
  }

  send(worker: WorkerHandle, message: unknown, descriptor?: Pick<EngineListener, 'fd'>): boolean {
    const child = this.#children.get(worker.workerId);
    if (child === undefined || child.channel < 0) return false;
    const data = Buffer.from(JSON.stringify(message));
    if (data.length > MAX_MESSAGE_BYTES) return false;
    return this.#binding.sendMessage(child.channel, data, descriptor ? [descriptor.fd] : []) >= 0;
  }

  listen(spec: ListenSpec): ListenResult {
    const fd = this.#binding.listen(spec);
    if (fd < 0) return { errno: fd, code: errnoCode(fd) };
    return this.adoptListener(fd);
  }

  /** A listener over a descriptor that is open already. */
  adoptListener(fd: number): ListenResult {
    const name = this.#binding.sockname(fd);
    if (typeof name === 'number') return { errno: name, code: errnoCode(name) };
    return { listener: { fd, address: name.address, port: name.port } };
  }

  quiesceListener(listener: EngineListener): void {
    // Of a socket that is not TCP, or on a system without filters, the queue ends with the last descriptor.
    this.#binding.dropSyn(listener.fd);
  }

  closeListener(listener: EngineListener): void {
    this.#binding.close(listener.fd);
  }

  wait(deadlineMs: number): Promise<readonly EngineEvent[]> {
    return this.#queue.wait(deadlineMs);
  }

  wake(): void {
    this.#queue.wake();
  }

  get busy(): boolean {
    return this.#forkservers.busy;
  }

  endForkserver(generation: number | 'all'): void {
    if (generation === 'all') this.#forkservers.endAll();
    else this.#forkservers.end(generation);
  }

  close(): void {
    process.off('SIGCHLD', this.#onSigchld);
    this.#forkservers.close();
    for (const child of this.#children.values()) this.#release(child);
    this.#children.clear();
    this.#byPid.clear();
    this.#poller.close();
  }

  #onReadable(ids: readonly number[]): void {
    for (const id of ids) {
      if (this.#forkservers.onReadable(id)) continue;
      const child = this.#children.get(Math.floor(id / 4));
      if (child === undefined) continue;
      if (id % 4 === 0) this.#onEnd(child);
      else this.#receive(child, MAX_PACKETS_A_TURN);
    }
  }

  #onEnd(child: Child): void {
    if (child.isForeign) this.#seekStatus(child, nowMs() + STATUS_WAIT_MS);
    else this.#reap(child);
  }

  /** The status of a process of somebody else's is known when that one has reaped it. */
  #seekStatus(child: Child, untilMs: number): void {
    if (this.#children.get(child.workerId) !== child) return;
    this.#poller.remove(child.pidfd);
    const status = this.#binding.pidfdExitStatus(child.pidfd);
    if (status === errnoNumber('EAGAIN') && nowMs() < untilMs) {
      setTimeout(() => this.#seekStatus(child, untilMs), STATUS_PAUSE_MS);
    } else this.#ended(child, status < 0 ? UNKNOWN_STATUS : status, null);
  }

  #reap(child: Child): void {
    const result = this.#binding.waitpid(child.pid, child.pidfd, true);
    if (result === null) return;
    const known = typeof result === 'object' ? waitResult(result) : null;
    // No such child: somebody else in this process collected it, and the status went with it.
    this.#ended(child, known?.status ?? 0xff00, known?.rusage ?? null);
  }

  #ended(child: Child, status: number, rusage: Rusage | null): void {
    // What it said last comes before its end.
    this.#receive(child, Number.POSITIVE_INFINITY);
    this.#release(child);
    this.#children.delete(child.workerId);
    this.#byPid.delete(child.pid);
    const { workerId, pid } = child;
    this.#queue.push({ type: 'exited', workerId, pid, status, ...decodeStatus(status), rusage });
  }

  #receive(child: Child, limit: number): void {
    for (let count = 0; count < limit && child.channel >= 0; count++) {
      const packet = this.#binding.recvMessage(child.channel, MAX_MESSAGE_BYTES, 0);
      if (typeof packet === 'number') {
        if (packet === -11 || packet === errnoNumber('EINTR')) return;
        this.#closeChannel(child);
        this.#queue.push({ type: 'channelClosed', workerId: child.workerId });
        return;
      }
      // A worker has nothing to hand over.
      for (const fd of packet.fds) this.#binding.close(fd);
      const message = parse(packet.data);
      if (message !== undefined) this.#queue.push({ type: 'message', workerId: child.workerId, message });
    }
  }

  /** SIGCHLD: stops and continues, which no pidfd tells, the exits of children that have no pidfd, and orphans. */
  #onChildSignal(): void {
    for (let change = this.#binding.waitStopped(); change !== null; change = this.#binding.waitStopped()) {
      const child = this.#byPid.get(change.pid);
      if (child === undefined) continue;
      this.#queue.push({ type: change.stopped ? 'stopped' : 'continued', workerId: child.workerId });
    }
    for (const child of [...this.#children.values()]) if (child.pidfd < 0) this.#reap(child);
    if (this.#adoptsOrphans) this.#reapOrphans();
  }

  /** As pid 1 of a container: processes whose own parents have gone are ours to reap, and nobody's to report. */
  #reapOrphans(): void {
    const pids = this.#binding.adoptedChildren();
    if (typeof pids === 'number') return;
    for (const pid of pids) if (!this.#byPid.has(pid)) this.#binding.waitpid(pid, -1, true);
  }

  #closeChannel(child: Child): void {
    if (child.channel < 0) return;
    this.#poller.remove(child.channel);
    this.#binding.close(child.channel);
    child.channel = -1;
  }

  #release(child: Child): void {
    this.#closeChannel(child);
    if (child.pidfd < 0) return;
    this.#poller.remove(child.pidfd);
    this.#binding.close(child.pidfd);
    child.pidfd = -1;
  }
}

function failure(errno: number, step: string): SpawnResult {
  return { errno, code: errnoCode(errno), step };
}

function environment(env: Readonly<Record<string, string>>, channelFd: number | null): string[] {
  const lines = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  if (channelFd !== null) lines.push(`PREFORK_CHANNEL=fd:${channelFd}`);
  return lines;
}

function placement(spec: SpawnSpec, channel: number, channelFd: number): (readonly [number, number])[] {
  const fds: (readonly [number, number])[] = [];
  for (const [number, fd] of spec.stdio.entries()) if (fd >= 0) fds.push([fd, number]);
  for (const [index, fd] of spec.inherit.entries()) fds.push([fd, FIRST_INHERITED_FD + index]);
  if (channel >= 0) fds.push([channel, channelFd]);
  if (spec.place) fds.push(...spec.place);
  return fds;
}

/** undefined: not JSON; a worker's nonsense is its own affair. */
function parse(data: Buffer): unknown {
  try {
    return JSON.parse(data.toString());
  } catch {
    return undefined;
  }
}
