/**
 * The engine without the addon: child_process and net. libuv cannot hold a listening socket without accepting from
 * it, so the manager binds and the workers listen, as node:cluster does with SCHED_NONE.
 */
import { ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import * as net from 'node:net';
import type {
  Capabilities,
  Engine,
  EngineEvent,
  EngineListener,
  ListenResult,
  ListenSpec,
  Signal,
  SpawnResult,
  SpawnSpec,
  WorkerHandle,
} from './engine';
import { errnoCode, errnoNumber, signalNumber } from './errno';
import { EventQueue } from './events';

/** A bound handle of net's, the one part of Node's internals used here: the function that node:cluster binds with. */
interface BoundHandle {
  readonly fd: number;
  listen(backlog: number): number;
  close(): void;
  getsockname?(out: { address?: string; port?: number }): number;
}
type CreateHandle = (
  address: string,
  port: number,
  addressType: 4 | 6 | -1,
  fd: undefined,
  flags: number,
) => BoundHandle | number;
type AdoptHandle = (address: null, port: null, addressType: null, fd: number) => BoundHandle | number;
const createServerHandle = (net as unknown as { _createServerHandle: CreateHandle })._createServerHandle;

/** UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT of uv_tcp_bind(); the second since libuv 1.49. */
const IPV6_ONLY = 1;
const REUSE_PORT = 2;

interface JsListener extends EngineListener {
  readonly handle: BoundHandle;
}

interface Child extends WorkerHandle {
  readonly process: ChildProcess;
}

export class JsEngine implements Engine {
  readonly name = 'js';
  readonly capabilities: Capabilities = {
    rusage: false,
    parentDeathSignal: false,
    listenPid: false,
    flock: false,
    childCredentials: false,
    childLimits: false,
    managerUpgrade: false,
    sdNotify: false,
    peerCredentials: false,
    stopEvents: false,
    reusePort: libuvAtLeast(1, 49),
    udp: false,
    fork: false,
    scoreboard: true,
  };
  readonly #queue = new EventQueue();
  readonly #children = new Map<number, Child>();
  /** libuv's loop ends when nothing is under way; a manager with all its slots backing off still waits. */
  readonly #keepAlive = setInterval(() => {}, 2_147_483_647);

  spawn(spec: SpawnSpec): SpawnResult {
    const stdio = stdioOf(spec);
    const env = { ...spec.env, ...(spec.channel && { PREFORK_CHANNEL: 'ipc' }) };
    const child = new ChildProcess();
    const handle: Child = { workerId: spec.workerId, pid: 0, process: child };
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      const code = error.code ?? 'EIO';
      const errno = error.errno ?? errnoNumber(code);
      this.#queue.push({ type: 'spawnFailed', workerId: spec.workerId, errno, code, step: 'spawn' });
    });
    try {
      // ChildProcess.spawn() is what child_process.spawn() calls; this way `error` has its listener before it runs.
      (child as unknown as { spawn(options: object): void }).spawn({
        file: spec.file,
        args: [...spec.args],
        envPairs: Object.entries(env).map(([key, value]) => `${key}=${value}`),
        cwd: spec.cwd,
        detached: spec.setsid,
        stdio,
        ...(spec.uid !== undefined && { uid: spec.uid }),
        ...(spec.gid !== undefined && { gid: spec.gid }),
      });
    } catch (error) {
      const { code = 'EIO', errno = errnoNumber(code) } = error as NodeJS.ErrnoException;
      return { errno, code, step: 'spawn' };
    }
    if (child.pid === undefined) return { pending: true };
    const started = { ...handle, pid: child.pid };
    this.#watch(started);
    return { handle: started };
  }

  #watch(child: Child): void {
    const { workerId, pid } = child;
    this.#children.set(workerId, child);
    child.process.on('message', (message) => this.#queue.push({ type: 'message', workerId, message }));
    child.process.on('disconnect', () => this.#queue.push({ type: 'channelClosed', workerId }));
    child.process.on('error', () => {
      // A message or signal that came too late; its exit tells.
    });
    child.process.once('exit', (exitCode, signal) => {
      afterLastMessage(child.process, () => {
        this.#children.delete(workerId);
        const status = signal === null ? (exitCode ?? 0) << 8 : signalNumber(signal);
        this.#queue.push({ type: 'exited', workerId, pid, status, exitCode, signal, rusage: null });
      });
    });
  }

  signal(worker: WorkerHandle, signal: Signal): 'sent' | 'gone' {
    return this.#children.get(worker.workerId)?.process.kill(signal) ? 'sent' : 'gone';
  }

  send(worker: WorkerHandle, message: unknown, descriptor?: Pick<EngineListener, 'fd'>): boolean {
    const child = this.#children.get(worker.workerId)?.process;
    if (!child?.connected) return false;
    // Node passes sockets only.
    const handle = descriptor && (descriptor as Partial<JsListener>).handle;
    child.send(message as object, handle as unknown as net.Server | undefined, () => {
      // A failure to send is followed by the exit.
    });
    return true;
  }

  listen(spec: ListenSpec): ListenResult | Promise<ListenResult> {
    return spec.kind === 'unix' ? listenUnix(spec) : listenInet(spec);
  }

  quiesceListener(): void {
    // Needs a socket filter, which Node does not offer.
  }

  /** A listener over a descriptor that is open already: TCP only, since of others Node tells no address. */
  adoptListener(fd: number): ListenResult {
    const handle = (createServerHandle as unknown as AdoptHandle)(null, null, null, fd);
    if (typeof handle === 'number') return failed(handle);
    const name: { address?: string; port?: number } = {};
    const error = handle.getsockname?.(name) ?? errnoNumber('ENOTSUP');
    if (error < 0 || name.address === undefined || name.port === undefined) {
      return failed(error < 0 ? error : errnoNumber('ENOTSUP'));
    }
    return { listener: { handle, fd, address: name.address, port: name.port } as JsListener };
  }

  closeListener(listener: EngineListener): void {
    (listener as JsListener).handle.close();
  }

  wait(deadlineMs: number): Promise<readonly EngineEvent[]> {
    return this.#queue.wait(deadlineMs);
  }

  wake(): void {
    this.#queue.wake();
  }

  close(): void {
    clearInterval(this.#keepAlive);
    for (const { process: child } of this.#children.values()) {
      child.removeAllListeners();
      if (child.connected) child.disconnect();
      child.unref();
    }
    this.#children.clear();
  }
}

/** Longest wait for the end of a dead worker's channel: only a copy of it in another process keeps it open. */
const CHANNEL_END_MS = 100;

/** What a worker said last is still in its channel when its exit is seen. */
function afterLastMessage(child: ChildProcess, callback: () => void): void {
  if (!child.connected) {
    callback();
    return;
  }
  const timer = setTimeout(done, CHANNEL_END_MS);
  child.once('disconnect', done);
  function done(): void {
    clearTimeout(timer);
    child.off('disconnect', done);
    callback();
  }
}

type Stdio = 'inherit' | 'ignore' | 'ipc' | number;

function stdioOf(spec: SpawnSpec): Stdio[] {
  const stdio: Stdio[] = spec.stdio.map((fd) => (fd < 0 ? 'ignore' : fd));
  stdio.push(...spec.inherit);
  if (spec.channel) stdio.push('ipc');
  for (const [fd, number] of spec.place ?? []) {
    while (stdio.length <= number) stdio.push('ignore');
    stdio[number] = fd;
  }
  return stdio;
}

function failed(errno: number): ListenResult {
  return { errno, code: errnoCode(errno) };
}

function listenInet(spec: ListenSpec): ListenResult {
  if (spec.kind === 'udp') return failed(errnoNumber('ENOTSUP'));
  const v6 = net.isIPv6(spec.address);
  const flags = (v6 && spec.ipv6Only ? IPV6_ONLY : 0) | (spec.reusePort ? REUSE_PORT : 0);
  const create = (): BoundHandle | number =>
    createServerHandle(spec.address, spec.port, v6 ? 6 : 4, undefined, flags);
  // That somebody listens there already shows only at listen(2), which the workers call: tried here on a socket of its own.
  const probe = spec.port === 0 ? 0 : create();
  const problem = typeof probe === 'number' ? probe : probe.listen(1);
  if (typeof probe !== 'number') probe.close();
  if (problem < 0) return failed(problem);
  const handle = create();
  if (typeof handle === 'number') return failed(handle);
  const name: { address?: string; port?: number } = {};
  handle.getsockname?.(name);
  const listener: JsListener = {
    handle,
    fd: handle.fd,
    address: name.address ?? spec.address,
    port: name.port ?? spec.port,
  };
  return { listener };
}

/** bind(2) of a path; a socket file that nobody listens on any more is replaced, a live one or another file never. */
async function listenUnix(spec: ListenSpec): Promise<ListenResult> {
  const path = spec.address;
  let handle = createServerHandle(path, -1, -1, undefined, 0);
  if (handle === errnoNumber('EADDRINUSE') && (await isStaleSocket(path))) {
    unlinkSync(path);
    handle = createServerHandle(path, -1, -1, undefined, 0);
  }
  if (typeof handle === 'number') return failed(handle);
  try {
    if (spec.mode !== undefined) chmodSync(path, spec.mode);
    if (spec.uid !== undefined || spec.gid !== undefined) chownSync(path, spec.uid ?? -1, spec.gid ?? -1);
  } catch (error) {
    handle.close();
    return failed((error as NodeJS.ErrnoException).errno ?? errnoNumber('EIO'));
  }
  return { listener: { handle, fd: handle.fd, address: path, port: 0 } as JsListener };
}

async function isStaleSocket(path: string): Promise<boolean> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  return new Promise((resolve) => {
    const probe = net.connect(path);
    probe
      .once('connect', () => resolve(false))
      .once('error', (error: NodeJS.ErrnoException) => {
        resolve(error.code === 'ECONNREFUSED');
      });
    probe.once('close', () => probe.destroy()).once('connect', () => probe.destroy());
  });
}

function libuvAtLeast(major: number, minor: number): boolean {
  const [haveMajor = 0, haveMinor = 0] = process.versions.uv.split('.').map(Number);
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}
