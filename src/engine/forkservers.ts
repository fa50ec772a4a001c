/** The forkservers of the native engine: one a generation, each forking the workers that the manager asks for. */
import {
  type ForkCommand,
  FORKSERVER_VERSION,
  type ForkserverBoot,
  type ForkserverMessage,
  MAX_COMMAND_BYTES,
} from '../preload/protocol';
import type { Binding, NativePoller } from './binding';
import type { EngineEvent, PreloadEvent, SpawnSpec } from './engine';
import { decodeStatus, errnoCode, errnoNumber } from './errno';

/** What {@link Forkservers} needs of the engine around it. */
export interface ForkserverHost {
  readonly binding: Binding;
  readonly poller: NativePoller;
  /** Starts the forkserver's own process, as any other. */
  start(spec: SpawnSpec): { pid: number; pidfd: number; channel: number } | { errno: number; step: string };
  /** A worker was forked: it is this process' child, with `channel` to it. */
  adopt(workerId: number, pid: number, channel: number): void;
  push(event: EngineEvent): void;
  tell(event: PreloadEvent): void;
}

/** A worker that was asked for; `channel` is our end. */
interface Order {
  readonly spec: SpawnSpec;
  readonly channel: number;
  readonly theirs: number;
}

interface Forkserver {
  readonly generation: number;
  readonly pid: number;
  pidfd: number;
  channel: number;
  isFrozen: boolean;
  /** told to the log once */
  lastWords: string | null;
  problems: readonly string[];
  /** not sent yet */
  waiting: Order[];
  /** sent, not answered */
  sent: Order[];
}

/** What is kept of a forkserver over the replacement of the manager. */
export type ForkserverHandover = Pick<Forkserver, 'generation' | 'pid' | 'pidfd' | 'channel'>;

/** Packets taken from a forkserver in one turn. */
const MAX_PACKETS_A_TURN = 64;
/** Listeners begin at 3 in a worker. */
const FIRST_INHERITED_FD = 3;

export class Forkservers {
  readonly #host: ForkserverHost;
  /** those that take orders, by generation */
  readonly #current = new Map<number, Forkserver>();
  /** all that have not been reaped, by the ids of their descriptors in the poller */
  readonly #byId = new Map<number, Forkserver>();
  #nextId = 0;

  constructor(host: ForkserverHost) {
    this.#host = host;
  }

  /** Orders a worker. null: `spawned` or `spawnFailed` follows. */
  spawn(spec: SpawnSpec): { errno: number; step: string } | null {
    const { binding } = this.#host;
    const server = this.#current.get(spec.forkserver!.generation) ?? this.#start(spec);
    if ('errno' in server) return server;
    const pair = binding.channelPair();
    if (typeof pair === 'number') return { errno: pair, step: 'socketpair' };
    server.waiting.push({ spec, channel: pair[0], theirs: pair[1] });
    this.#send(server);
    return null;
  }

  #start(spec: SpawnSpec): Forkserver | { errno: number; step: string } {
    const { generation, boot, preload } = spec.forkserver!;
    const { PREFORK_WORKER: _worker, PREFORK_WORKER_ID: _id, PREFORK_SLOT: _slot, ...env } = spec.env;
    const full: ForkserverBoot = { v: FORKSERVER_VERSION, dieWithManager: spec.dieWithManager, ...boot };
    const args = spec.args.map((arg) => (arg === preload.instead ? preload.file : arg));
    const started = this.#host.start({
      ...spec,
      args,
      // What is the worker's own comes with the order.
      place: [],
      env: { ...env, PREFORK_FORKSERVER: JSON.stringify(full) },
    });
    if ('errno' in started) return started;
    return this.#watch({ generation, ...started }, false);
  }

  #watch(of: ForkserverHandover, isFrozen: boolean): Forkserver {
    const server: Forkserver = { ...of, isFrozen, lastWords: null, problems: [], waiting: [], sent: [] };
    const id = this.#nextId++;
    this.#byId.set(id, server);
    this.#current.set(of.generation, server);
    this.#host.poller.add(server.pidfd, pollId(id, 'exit'));
    this.#host.poller.add(server.channel, pollId(id, 'channel'));
    return server;
  }

  /** Sends what waits, as far as the forkserver takes it. */
  #send(server: Forkserver): void {
    const { binding } = this.#host;
    while (server.isFrozen && server.waiting.length > 0) {
      const order = server.waiting[0]!;
      const numbers = order.spec.inherit.map((_, index) => FIRST_INHERITED_FD + index);
      const channelNumber = FIRST_INHERITED_FD + numbers.length;
      const placed = order.spec.place ?? [];
      const env = { ...order.spec.env, PREFORK_CHANNEL: `fd:${channelNumber}` };
      const command: ForkCommand = {
        v: FORKSERVER_VERSION,
        env,
        fds: [...numbers, channelNumber, ...placed.map(([, number]) => number)],
      };
      const data = Buffer.from(JSON.stringify(command));
      const fds = [...order.spec.inherit, order.theirs, ...placed.map(([fd]) => fd)];
      const result =
        data.length > MAX_COMMAND_BYTES
          ? errnoNumber('E2BIG')
          : binding.sendMessage(server.channel, data, fds);
      // Full: its answers make room, and the rest follows them.
      if (result === errnoNumber('EAGAIN') && server.sent.length > 0) return;
      server.waiting.shift();
      binding.close(order.theirs);
      if (result >= 0) server.sent.push(order);
      else this.#fail(order, result, 'sendmsg', null);
    }
  }

  /** Takes an event of the poller that is a forkserver's; false: it is somebody else's. */
  onReadable(pollerId: number): boolean {
    const found = fromPollId(pollerId);
    if (found === null) return false;
    const server = this.#byId.get(found.id);
    if (server === undefined) return true;
    if (found.what === 'channel') this.#receive(server, MAX_PACKETS_A_TURN);
    else this.#reap(found.id, server);
    return true;
  }

  #receive(server: Forkserver, limit: number): void {
    for (let count = 0; count < limit && server.channel >= 0; count++) {
      const packet = this.#host.binding.recvMessage(server.channel, MAX_COMMAND_BYTES, 0);
      if (typeof packet === 'number') {
        if (packet === errnoNumber('EAGAIN') || packet === errnoNumber('EINTR')) return;
        this.#closeChannel(server);
        return;
      }
      for (const fd of packet.fds) this.#host.binding.close(fd);
      this.#onMessage(server, JSON.parse(packet.data.toString()) as ForkserverMessage | LastWords);
    }
  }

  #onMessage(server: Forkserver, message: ForkserverMessage | LastWords): void {
    const { generation } = server;
    switch (message.type) {
      case 'frozen':
        server.isFrozen = true;
        this.#host.tell({
          type: 'preloaded',
          generation,
          pid: server.pid,
          rssBytes: message.rssBytes,
          notes: message.notes,
        });
        this.#send(server);
        return;
      case 'busy':
      case 'unsafe':
        server.problems = message.problems;
        this.#host.tell({ type: message.type, generation, pid: server.pid, problems: message.problems });
        return;
      case 'lastWords':
        server.lastWords = message.text;
        return;
      case 'forked':
        this.#onForked(server, message.pid);
        return;
      case 'forkFailed': {
        const order = server.sent.shift();
        if (message.pid > 0) this.#host.binding.waitpid(message.pid, -1, false);
        if (order) this.#fail(order, message.errno, message.step, null);
        this.#send(server);
        return;
      }
      default:
        return;
    }
  }

  #onForked(server: Forkserver, pid: number): void {
    const order = server.sent.shift();
    if (order) this.#host.adopt(order.spec.workerId, pid, order.channel);
    this.#send(server);
  }

  #reap(id: number, server: Forkserver): void {
    const { binding, poller } = this.#host;
    const result = binding.waitpid(server.pid, server.pidfd, true);
    if (result === null) return;
    this.#receive(server, Number.POSITIVE_INFINITY);
    this.#closeChannel(server);
    poller.remove(server.pidfd);
    binding.close(server.pidfd);
    this.#byId.delete(id);
    const wasCurrent = this.#current.get(server.generation) === server;
    if (wasCurrent) this.#current.delete(server.generation);
    const status = typeof result === 'object' ? result[1] : 0xff00;
    if (wasCurrent) {
      const { generation, pid } = server;
      this.#host.tell({ type: 'ended', generation, pid, status });
    }
    const reason = server.isFrozen ? null : reasonOf(server, status);
    for (const order of server.waiting) {
      binding.close(order.theirs);
      this.#fail(order, errnoNumber(server.isFrozen ? 'EAGAIN' : 'ECHILD'), 'preload', reason);
    }
    for (const order of server.sent) this.#settle(order);
  }

  /** Sent, and its forkserver died: a worker that was forked all the same has said hello. */
  #settle(order: Order): void {
    const { binding } = this.#host;
    const packet = binding.recvMessage(order.channel, MAX_COMMAND_BYTES, HELLO_WAIT_MS);
    const hello =
      typeof packet === 'number'
        ? null
        : (JSON.parse(packet.data.toString()) as { type?: string; pid?: number });
    if (hello?.type === 'hello' && typeof hello.pid === 'number') {
      this.#host.adopt(order.spec.workerId, hello.pid, order.channel);
    } else {
      this.#fail(order, errnoNumber('EAGAIN'), 'fork', null);
    }
  }

  #fail({ spec, channel }: Order, errno: number, step: string, reason: string | null): void {
    this.#host.binding.close(channel);
    const { workerId } = spec;
    this.#host.push({
      type: 'spawnFailed',
      workerId,
      errno,
      code: errnoCode(errno),
      step,
      ...(reason !== null && { reason }),
    });
  }

  /** No worker of the generation will be asked for any more. */
  end(generation: number): void {
    const server = this.#current.get(generation);
    if (server === undefined) return;
    this.#current.delete(generation);
    // Frozen, it ends with its channel; before that it is somewhere in the program.
    if (!server.isFrozen) this.#host.binding.pidfdSendSignal(server.pidfd, SIGKILL);
    this.#closeChannel(server);
  }

  endAll(): void {
    for (const generation of [...this.#current.keys()]) this.end(generation);
  }

  /** Ends all that are left, and waits for them: each is frozen or killed, so that it takes no time. */
  close(): void {
    const { binding, poller } = this.#host;
    for (const server of this.#byId.values()) {
      binding.pidfdSendSignal(server.pidfd, SIGKILL);
      binding.waitpid(server.pid, server.pidfd, false);
      this.#closeChannel(server);
      poller.remove(server.pidfd);
      binding.close(server.pidfd);
    }
    this.#byId.clear();
    this.#current.clear();
  }

  /** Whether one is starting, has orders or is ending. */
  get busy(): boolean {
    const isAtRest = (server: Forkserver): boolean =>
      server.isFrozen &&
      server.waiting.length === 0 &&
      server.sent.length === 0 &&
      this.#current.get(server.generation) === server;
    return ![...this.#byId.values()].every(isAtRest);
  }

  /** Only those at rest can be handed over: not while {@link busy}. */
  handOver(): ForkserverHandover[] {
    return [...this.#current.values()].map(({ generation, pid, pidfd, channel }) => ({
      generation,
      pid,
      pidfd,
      channel,
    }));
  }

  takeOver(servers: readonly ForkserverHandover[]): void {
    for (const server of servers) {
      for (const fd of [server.pidfd, server.channel]) this.#host.binding.setCloexec(fd);
      this.#host.binding.registerChild(server.pid);
      this.#watch(server, true);
    }
  }

  #closeChannel(server: Forkserver): void {
    if (server.channel < 0) return;
    this.#host.poller.remove(server.channel);
    this.#host.binding.close(server.channel);
    server.channel = -1;
  }
}

/** A forkserver's program may say what ended it, as a worker's does. */
type LastWords = { type: 'lastWords'; text: string };

const SIGKILL = 9;
/** Longest wait for the hello of a worker whose forkserver died right after forking it. */
const HELLO_WAIT_MS = 1000;

/** Ids of the poller: a worker's are 4 n and 4 n + 1. */
function pollId(id: number, what: 'exit' | 'channel'): number {
  return id * 4 + (what === 'exit' ? 2 : 3);
}

function fromPollId(pollerId: number): { id: number; what: 'exit' | 'channel' } | null {
  const kind = pollerId % 4;
  if (kind < 2) return null;
  return { id: Math.floor(pollerId / 4), what: kind === 2 ? 'exit' : 'channel' };
}

function reasonOf(server: Forkserver, status: number): string {
  if (server.problems.length > 0) return `the program cannot be forked: ${server.problems.join('; ')}`;
  const { exitCode, signal } = decodeStatus(status);
  const how = signal === null ? `exited with code ${exitCode}` : `was killed by ${signal}`;
  const words = server.lastWords === null ? '' : `: ${server.lastWords}`;
  return `the forkserver ${server.pid} ${how} before it could fork${words}`;
}
