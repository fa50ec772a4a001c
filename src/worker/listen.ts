/**
 * `server.listen()` of an unmodified program gets the manager's socket. Public methods of net.Server are replaced, listen() and
 * close(); what is not understood, and every invalid argument, goes to Node's own.
 */
import { closeSync } from 'node:fs';
import { Server } from 'node:net';
import type { Channel, Delivery } from './channel';
import { type ListenArgs, parseListenArgs } from './listenArgs';
import type { Listener, ListenerTable, Wanted } from './listenerTable';
import type { ManagerMessage, WorkerMessage } from './protocol';
import { protocolOf } from './protocolOf';
import { systemError } from './systemError';

const DEFAULT_BACKLOG = 511;
const EADDRINUSE = -98;
const ETIMEDOUT = -110;

/** The two properties of net.Server used that are not documented; node:cluster's users have relied on them for ten years. */
interface RawServer {
  _handle: RawHandle | null;
  _pipeName?: string;
  _listen2(address: null, port: -1, addressType: -1, backlog: number): void;
}
interface RawHandle {
  onconnection(error: number, client: { close(): void } | undefined): void;
}
const raw = (server: Server): RawServer => server as unknown as RawServer;

export interface ListenEvents {
  /** before the first connection can come */
  onListen(server: Server): void;
  /** before close() does anything */
  onClose(server: Server): void;
}

/** A listen() under way: its answer is for this call only. */
interface Pending {
  readonly args: ListenArgs;
  /** Node would have bound at once: close() and a second listen() behave as if it had */
  readonly immediate: boolean;
  /** of a listen(0) */
  readonly site: string;
}

type Socket = NonNullable<Listener['socket']>;
type Adoption = Extract<ManagerMessage, { type: 'adopt' }>;

export class ListenHook {
  readonly #originalListen = Server.prototype.listen as (this: Server, ...args: unknown[]) => Server;
  readonly #originalClose = Server.prototype.close;
  readonly #channel: Channel;
  readonly #table: ListenerTable;
  readonly #events: ListenEvents;
  /** the operator's backlog */
  readonly #backlog: number | null;
  readonly #pending = new Map<Server, Pending>();
  /** accept for the server of the same key from further sockets: other slots', or further addresses of its port */
  readonly #feeders = new Map<Server, Map<string, Server>>();
  /** of listeners that no server of ours has yet */
  readonly #adoptions: { message: Adoption; socket: Socket }[] = [];
  #seq = 0;

  constructor(channel: Channel, table: ListenerTable, backlog: number | null, events: ListenEvents) {
    this.#channel = channel;
    this.#table = table;
    this.#backlog = backlog;
    this.#events = events;
  }

  install(): void {
    const hook = this;
    Server.prototype.listen = function listen(this: Server, ...args: unknown[]) {
      return hook.#listen(this, args);
    } as Server['listen'];
    Server.prototype.close = function close(this: Server, callback) {
      return hook.#close(this, callback);
    };
  }

  /** Number for the next question to the manager. */
  nextSeq(): number {
    return ++this.#seq;
  }

  /** Stops accepting as net.Server does, whatever close() the server's class has. */
  stopAccepting(server: Server): void {
    this.#close(server, undefined);
  }

  /** Accepts from another slot's socket too, until released: at once, or when this worker's own server listens. */
  adopt(message: Adoption, socket: Socket): void {
    const owner = this.#table.byKey(message.key)?.owner;
    if (owner instanceof Server && owner.listening) this.#feedAdopted(owner, message, socket);
    else this.#adoptions.push({ message, socket });
  }

  release(message: Extract<ManagerMessage, { type: 'release' }>): void {
    const same = ({ message: { key, slot } }: { message: Adoption }) =>
      key === message.key && slot === message.slot;
    const waiting = this.#adoptions.findIndex(same);
    if (waiting >= 0) for (const { socket } of this.#adoptions.splice(waiting, 1)) closeSocket(socket);
    const owner = this.#table.byKey(message.key)?.owner;
    if (!(owner instanceof Server)) return;
    const name = feederName(message);
    const feeder = this.#feeders.get(owner)?.get(name);
    this.#feeders.get(owner)?.delete(name);
    if (feeder !== undefined) this.#originalClose.call(feeder);
  }

  #feedAdopted(server: Server, message: Adoption, socket: Socket): void {
    this.#feed(server, feederName(message), socket, this.#backlog ?? DEFAULT_BACKLOG);
  }

  #listen(server: Server, args: unknown[]): Server {
    const parsed = parseListenArgs(args);
    const pending = this.#pending.get(server);
    if (pending?.immediate) refuseSecondListen(this.#originalListen);
    if (server.listening || parsed === null) return this.#listenByItself(server, args);
    this.#pending.delete(server);
    if ('fd' in parsed) return this.#listenOnFd(server, parsed.fd, args);
    if (parsed.callback !== undefined) server.once('listening', parsed.callback);
    if (parsed.signal !== undefined) closeOnAbort(server, parsed.signal);
    const site = parsed.port === 0 ? callSite() : '';
    const call = { args: parsed, immediate: parsed.host === undefined, site };
    this.#pending.set(server, call);
    if (parsed.path !== undefined) this.#seek(server, call, { kind: 'unix', address: parsed.path, port: 0 });
    else if (parsed.host === undefined)
      this.#seek(server, call, { kind: 'tcp', address: null, port: parsed.port });
    else this.#lookup(server, call, parsed.host);
    return server;
  }

  #lookup(server: Server, call: Pending, host: string): void {
    const { lookup } = require('node:dns') as typeof import('node:dns');
    lookup(host, { all: true }, (error, addresses) => {
      if (this.#pending.get(server) !== call) return;
      if (error !== null) {
        this.#pending.delete(server);
        server.emit('error', error);
        return;
      }
      // Node passes over link-local addresses, which need a scope.
      const usable =
        addresses.find(({ address, family }) => family !== 6 || !/^fe80:/i.test(address)) ?? addresses[0];
      this.#seek(server, call, { kind: 'tcp', address: usable?.address ?? host, port: call.args.port });
    });
  }

  #seek(server: Server, call: Pending, wanted: Wanted): void {
    const found = this.#table.find(wanted);
    if (found === 'taken') this.#fail(server, call, EADDRINUSE, wanted.address ?? '::');
    else if (found === 'unknown') this.#ask(server, call, wanted, wanted.address ?? '::');
    else this.#useAll(server, call, wanted, found);
  }

  /** The first is the server's own, for address(); the others feed it. */
  #useAll(server: Server, call: Pending, wanted: Wanted, found: readonly Listener[]): void {
    const [first, ...others] = found as [Listener, ...Listener[]];
    if (first.socket === undefined) {
      // Closed before by this program: the manager has it still.
      this.#ask(server, call, { ...wanted, address: first.address, port: first.port }, first.address);
      return;
    }
    this.#use(server, call, wanted, first);
    for (const other of others) {
      if (!server.listening || other.socket === undefined) continue;
      this.#feed(server, other.key, other.socket, this.#backlogOf(call.args));
      this.#table.take(other, server, wanted);
    }
  }

  #ask(server: Server, call: Pending, wanted: Wanted, address: string): void {
    const request: Extract<WorkerMessage, { type: 'listen' }> = {
      type: 'listen',
      seq: this.nextSeq(),
      kind: wanted.kind,
      address,
      port: wanted.port,
      backlog: this.#backlogOf(call.args),
      ipv6Only: call.args.ipv6Only,
      site: wanted.port === 0 ? call.site : '',
      ...modeOf(call.args),
    };
    this.#channel.ask(request, (delivery) => {
      if (this.#pending.get(server) !== call) {
        if (delivery !== undefined) discard(delivery);
        return;
      }
      this.#answered(server, call, wanted, address, delivery);
    });
  }

  #answered(
    server: Server,
    call: Pending,
    wanted: Wanted,
    address: string,
    delivery: Delivery | undefined,
  ): void {
    const answer = delivery?.message;
    const failed = answer?.type !== 'listener' || 'errno' in answer;
    const errno = failed ? (answer?.type === 'listener' && 'errno' in answer ? answer.errno : ETIMEDOUT) : 0;
    if (failed) {
      // Without a host Node takes IPv4 where IPv6 does not work.
      if (wanted.address === null && address === '::' && errno !== EADDRINUSE && errno !== ETIMEDOUT) {
        return this.#ask(server, call, wanted, '0.0.0.0');
      }
      return this.#fail(server, call, errno, address);
    }
    const socket = socketOf(delivery as Delivery);
    const known = this.#table.byKey(answer.key);
    if (socket === undefined || known?.owner !== undefined) {
      discard(delivery as Delivery);
      return this.#fail(server, call, EADDRINUSE, address);
    }
    const { port } = wanted;
    const facts = {
      key: answer.key,
      kind: wanted.kind,
      address,
      port,
      boundPort: answer.boundPort,
      fromBind: false,
    };
    const listener = known ?? { ...facts, socket, owner: undefined, ownerAddress: null };
    listener.socket = socket;
    if (known === undefined) this.#table.add(listener);
    this.#use(server, call, wanted, listener);
  }

  #use(server: Server, call: Pending, wanted: Wanted, listener: Listener): void {
    this.#pending.delete(server);
    this.#events.onListen(server);
    this.#listenOn(server, listener.socket as Socket, listener.kind, this.#backlogOf(call.args));
    if (!server.listening) return;
    if (call.args.path !== undefined) raw(server)._pipeName = call.args.path;
    this.#table.take(listener, server, wanted);
    this.#report(server);
    const waiting = this.#adoptions.filter(({ message }) => message.key === listener.key);
    for (const adoption of waiting) {
      this.#adoptions.splice(this.#adoptions.indexOf(adoption), 1);
      this.#feedAdopted(server, adoption.message, adoption.socket);
    }
  }

  #listenOn(server: Server, socket: Socket, kind: Listener['kind'], backlog: number): void {
    if (!('close' in socket)) this.#originalListen.call(server, { fd: socket.fd }, backlog);
    else if (kind === 'tcp') this.#originalListen.call(server, socket, backlog);
    else {
      // listen() takes a handle of TCP's only.
      raw(server)._handle = socket as unknown as RawHandle;
      raw(server)._listen2(null, -1, -1, backlog);
    }
  }

  /** A second accepting handle whose connections become the server's own. */
  #feed(server: Server, name: string, socket: Socket, backlog: number): void {
    const feeder = new Server();
    feeder.on('error', (error) => server.emit('error', error));
    this.#listenOn(feeder, socket, 'tcp', backlog);
    const handle = raw(feeder)._handle;
    if (handle === null) return;
    feeder.unref();
    handle.onconnection = (error, client) => {
      const main = raw(server)._handle;
      if (main === null) client?.close();
      else main.onconnection(error, client);
    };
    const feeders = this.#feeders.get(server) ?? new Map<string, Server>();
    this.#feeders.set(server, feeders.set(name, feeder));
  }

  /** A descriptor of the manager's that the program found in its environment, or one of the program's own. */
  #listenOnFd(server: Server, fd: number, args: unknown[]): Server {
    const listener = this.#table.byFd(fd);
    if (listener === undefined) return this.#listenByItself(server, args);
    this.#events.onListen(server);
    const options = this.#backlog === null ? args : [args[0], this.#backlog, args.at(-1)];
    this.#originalListen.apply(server, options);
    if (server.listening) {
      if (listener.kind === 'unix') raw(server)._pipeName = listener.address;
      this.#table.take(listener, server, listener);
      this.#report(server);
    }
    return server;
  }

  #listenByItself(server: Server, args: unknown[]): Server {
    if (!server.listening) this.#events.onListen(server);
    return this.#originalListen.apply(server, args);
  }

  /** After the program's own listeners of 'listening'. */
  #report(server: Server): void {
    server.once('listening', () => {
      for (const { key } of this.#table.ownedBy(server)) {
        this.#channel.send({ type: 'listening', key, protocol: protocolOf(server) });
      }
    });
  }

  #fail(server: Server, call: Pending, errno: number, address: string): void {
    this.#pending.delete(server);
    const error = systemError(errno, 'listen', address, call.args.port);
    process.nextTick(() => server.emit('error', error));
  }

  #close(server: Server, callback: ((error?: Error) => void) | undefined): Server {
    const pending = this.#pending.get(server);
    this.#pending.delete(server);
    if (server.listening) {
      this.#events.onClose(server);
      for (const feeder of this.#feeders.get(server)?.values() ?? []) this.#originalClose.call(feeder);
      this.#feeders.delete(server);
      for (const { key } of this.#table.release(server)) this.#channel.send({ type: 'unlistening', key });
    } else if (pending?.immediate && typeof callback === 'function') {
      server.once('close', callback);
      return this.#originalClose.call(server);
    }
    return this.#originalClose.call(server, callback);
  }

  #backlogOf(args: ListenArgs): number {
    return this.#backlog ?? args.backlog ?? DEFAULT_BACKLOG;
  }
}

function callSite(): string {
  const { nextCallSite } = require('./callSite') as typeof import('./callSite');
  return nextCallSite();
}

function socketOf({ fd, handle }: Delivery): Socket | undefined {
  return fd === undefined ? handle : { fd };
}

/** The socket of an answer that nobody waits for any more. */
export function discard(delivery: Delivery): void {
  const socket = socketOf(delivery);
  if (socket !== undefined) closeSocket(socket);
}

function closeSocket(socket: Socket): void {
  if ('close' in socket) socket.close();
  else closeSync(socket.fd);
}

function feederName({ key, slot }: { key: string; slot: number }): string {
  return `slot ${slot} ${key}`;
}

/** Node's own error for a server that listens already. */
function refuseSecondListen(listen: (this: Server, ...args: unknown[]) => Server): void {
  listen.call({ _handle: true } as unknown as Server, 0);
}

function closeOnAbort(server: Server, signal: AbortSignal): void {
  const close = () => server.close();
  if (signal.aborted) {
    process.nextTick(close);
    return;
  }
  signal.addEventListener('abort', close, { once: true });
  server.once('close', () => signal.removeEventListener('abort', close));
}

/** The bits that Node would have added to the socket file's. */
function modeOf({ readableAll, writableAll }: ListenArgs): { mode?: number } {
  if (!readableAll && !writableAll) return {};
  return { mode: (0o777 & ~process.umask()) | (readableAll ? 0o444 : 0) | (writableAll ? 0o222 : 0) };
}
