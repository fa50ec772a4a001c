/** A manager for one forkserver, as small as can be, in the process of the test. */
import { once, EventEmitter } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Binding, NativePoller } from '../../src/engine/binding';
import { type NativeWaitResult, type WaitNumbers, waitResult } from '../../src/engine/wait-result';
import type { ForkCommand, ForkserverBoot, ForkserverMessage } from '../../src/preload/protocol';
import type { WorkerBoot, WorkerMessage } from '../../src/worker/protocol';
import { root } from './root';

const binding = (require('node-gyp-build') as (directory: string) => Binding)(root);

const PRELOAD = join(root, 'dist', 'preload', 'forkserver.js');
const MAX_BYTES = 131_072;
const LISTENER_FD = 3;
const CHANNEL_FD = 4;

/** What came over a channel, kept until it is asked for. */
class Inbox<M extends { type: string }> extends EventEmitter {
  readonly messages: M[] = [];
  closed = false;

  deliver(message: M): void {
    this.messages.push(message);
    this.emit('news');
  }

  /** Takes the first message of those types, waiting for it. Rejects when the channel closes before. */
  async take<T extends M['type']>(...types: T[]): Promise<Extract<M, { type: T }>> {
    for (;;) {
      const at = this.messages.findIndex(({ type }) => types.includes(type as T));
      if (at >= 0) return this.messages.splice(at, 1)[0] as Extract<M, { type: T }>;
      if (this.closed) throw new Error(`closed without ${types}; got ${JSON.stringify(this.messages)}`);
      await once(this, 'news');
    }
  }
}

export interface Worker {
  readonly pid: number;
  readonly inbox: Inbox<WorkerMessage>;
  readonly ended: Promise<NativeWaitResult>;
}

export interface ForkserverOptions {
  readonly node?: string;
  readonly args?: readonly string[];
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly boot?: Partial<ForkserverBoot>;
  readonly uid?: number;
  readonly rlimits?: Readonly<Record<string, readonly [number, number]>>;
}

export class Forkserver {
  readonly pid: number;
  readonly port: number;
  readonly inbox = new Inbox<ForkserverMessage>();
  readonly ended: Promise<NativeWaitResult>;
  readonly #directory = mkdtempSync(join(tmpdir(), 'prefork-forkserver-'));
  readonly #listener: number;
  readonly #channel: number;
  readonly #handlers = new Map<number, () => void>();
  readonly #poller: NativePoller;
  readonly #live = new Set<number>();
  readonly #descriptors = new Set<number>();
  #nextId = 0;
  #slot = 0;

  constructor(entry: string, options: ForkserverOptions = {}) {
    this.#poller = must(
      binding.createPoller((ids) => {
        for (const id of ids) this.#handlers.get(id)?.();
      }),
    );
    const address = { kind: 'tcp', address: '127.0.0.1', port: 0, backlog: 511 } as const;
    this.#listener = this.#own(binding.listen({ ...address, reusePort: false, ipv6Only: false }));
    this.port = must(binding.sockname(this.#listener)).port;
    const [ours, theirs] = must(binding.channelPair());
    this.#channel = this.#own(ours);
    const output = ['out', 'err'].map((name) => openSync(join(this.#directory, name), 'a'));
    const node = options.node ?? process.execPath;
    const boot: ForkserverBoot = {
      v: 1,
      until: 'listen',
      safety: 'refuse',
      warmup: null,
      busyAfterMs: 20_000,
      dieWithManager: true,
      ...options.boot,
    };
    const env = {
      ...process.env,
      ...options.env,
      PORT: String(this.port),
      PREFORK_FORKSERVER: JSON.stringify(boot),
    };
    const spawned = binding.spawn({
      file: node,
      args: [node, ...(options.nodeArgs ?? []), '--require', PRELOAD, entry, ...(options.args ?? [])],
      env: lines({ ...env, PREFORK_CHANNEL: `fd:${CHANNEL_FD}` }),
      fds: [
        [output[0]!, 1],
        [output[1]!, 2],
        [this.#listener, LISTENER_FD],
        [theirs, CHANNEL_FD],
      ],
      deathSignal: 9,
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid, groups: [] }),
      ...(options.rlimits !== undefined && { rlimits: options.rlimits }),
    });
    for (const fd of [theirs, ...output]) binding.close(fd);
    if ('errno' in spawned) throw new Error(`${spawned.step}: ${spawned.errno}`);
    this.pid = spawned.pid;
    this.ended = this.#watchEnd(spawned.pid, spawned.pidfd);
    this.#watchChannel(ours, this.inbox);
  }

  get stdout(): string {
    return readFileSync(join(this.#directory, 'out'), 'utf8');
  }

  get stderr(): string {
    return readFileSync(join(this.#directory, 'err'), 'utf8');
  }

  /** Sends a command, without waiting for the answer. The worker's inbox. */
  command(env: Readonly<Record<string, string>> = {}, boot: Partial<WorkerBoot> = {}): Inbox<WorkerMessage> {
    const [ours, theirs] = must(binding.channelPair());
    const slot = this.#slot++;
    const worker = {
      v: 1,
      engine: 'native',
      ready: 'listen',
      listeners: [
        {
          key: 'main',
          kind: 'tcp',
          address: '127.0.0.1',
          port: this.port,
          boundPort: this.port,
          fd: LISTENER_FD,
          fromBind: true,
        },
      ],
      backlog: null,
      maxRequests: 0,
      lingerMs: null,
      ...boot,
    };
    const command: ForkCommand = {
      v: 1,
      env: {
        PREFORK_SLOT: String(slot),
        PREFORK_WORKER_ID: String(slot + 1),
        PREFORK_GENERATION: '1',
        PREFORK_CHANNEL: `fd:${CHANNEL_FD}`,
        PREFORK_WORKER: JSON.stringify(worker),
        LISTEN_FDS: '1',
        LISTEN_PID: '',
        ...env,
      },
      fds: [LISTENER_FD, CHANNEL_FD],
    };
    const sent = binding.sendMessage(this.#channel, Buffer.from(JSON.stringify(command)), [
      this.#listener,
      theirs,
    ]);
    binding.close(theirs);
    const inbox = new Inbox<WorkerMessage>();
    if (sent < 0) throw new Error(`the command could not be sent: errno ${-sent}`);
    this.#watchChannel(this.#own(ours), inbox);
    return inbox;
  }

  /** A worker that has been forked. */
  async fork(env: Readonly<Record<string, string>> = {}, boot: Partial<WorkerBoot> = {}): Promise<Worker> {
    const inbox = this.command(env, boot);
    const answer = await this.inbox.take('forked', 'forkFailed');
    if (answer.type !== 'forked') throw new Error(JSON.stringify(answer));
    return this.adopt(answer.pid, inbox);
  }

  /** Watches a worker that a command has brought. */
  adopt(pid: number, inbox: Inbox<WorkerMessage>): Worker {
    return { pid, inbox, ended: this.#watchEnd(pid, binding.pidfdOpen(pid)) };
  }

  /** Lets it go as a manager does that wants no more workers. */
  closeChannel(): void {
    this.#forget(this.#channel);
  }

  async get(path: string): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      headers: { connection: 'close' },
    });
    return await response.json();
  }

  /** Ends whatever is left, and waits for it. */
  async close(): Promise<void> {
    for (const pid of this.#live) process.kill(pid, 'SIGKILL');
    while (this.#live.size > 0) await once(this.inbox, 'reaped');
    for (const fd of [...this.#descriptors]) this.#forget(fd);
    this.#poller.close();
    rmSync(this.#directory, { recursive: true });
  }

  #own(fd: number): number {
    if (fd < 0) throw new Error(`errno ${-fd}`);
    this.#descriptors.add(fd);
    return fd;
  }

  #forget(fd: number): void {
    this.#poller.remove(fd);
    if (this.#descriptors.delete(fd)) binding.close(fd);
  }

  #watchChannel<M extends { type: string }>(fd: number, inbox: Inbox<M>): void {
    this.#watch(fd, () => {
      const received = binding.recvMessage(fd, MAX_BYTES, 0);
      if (typeof received !== 'number') return inbox.deliver(JSON.parse(received.data.toString()) as M);
      if (received === -11) return;
      this.#forget(fd);
      inbox.closed = true;
      inbox.emit('news');
    });
  }

  #watchEnd(pid: number, pidfd: number): Promise<NativeWaitResult> {
    this.#live.add(pid);
    return new Promise((resolve) => {
      this.#watch(this.#own(pidfd), () => {
        const result = binding.waitpid(pid, pidfd, true);
        if (result === null) return;
        this.#forget(pidfd);
        this.#live.delete(pid);
        resolve(waitResult(result as WaitNumbers));
        this.inbox.emit('reaped');
      });
    });
  }

  #watch(fd: number, handler: () => void): void {
    const id = this.#nextId++;
    this.#handlers.set(id, handler);
    must(this.#poller.add(fd, id));
  }
}

function must<T>(value: T | number): T {
  if (typeof value === 'number' && value < 0) throw new Error(`errno ${-value}`);
  return value as T;
}

function lines(env: NodeJS.ProcessEnv): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

/** What a wait status says. */
export function exitOf({ status }: NativeWaitResult): number | string {
  return (status & 0x7f) === 0 ? status >> 8 : `signal ${status & 0x7f}`;
}
