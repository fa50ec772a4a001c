/** Leaving without a lost request: on a stop signal, when the manager is gone, or by the program's own close() during a stop. */
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server } from 'node:net';
import type { Connection, Connections } from './connections';
import { isTls, protocolOf } from './protocolOf';
import type { DrainCallback } from './runtime';

/** Loaded with the first server that needs them. */
const http = () => require('./httpDrain') as typeof import('./httpDrain');
const http2 = () => require('./http2Drain') as typeof import('./http2Drain');

const LOOK_MS = 50;
/** For servers without a keepAliveTimeout, or with none. */
const DEFAULT_LINGER_MS = 5000;
/** A client that neither ends nor sends anything after we have ended is left. */
const CLOSING_QUIET_MS = 2000;
/** Without the manager nothing ends a drain that hangs. */
const ORPHAN_MS = 2000;
/** Clients that come faster than they are accepted have to be left at some time. */
const EMPTY_QUEUE_MS = 1000;
/** Answers to datagrams that were read before. */
const UDP_GRACE_MS = 1000;

export interface DrainDependencies {
  readonly connections: Connections;
  /** idle connections; null: the server's keepAliveTimeout */
  readonly lingerMs: number | null;
  stopAccepting(server: Server): void;
  /** new connections go on joining the queues when the pool stops: the engine has nothing against it */
  readonly narrowsQueues: boolean;
  /** once, at the start of a drain of any kind */
  onBegin(): void;
}

export class Drain {
  readonly #deps: DrainDependencies;
  readonly #callbacks: DrainCallback[] = [];
  readonly #open = new Set<Server>();
  readonly #udp = new Set<UdpSocket>();
  readonly #draining = new Set<Server>();
  readonly #known = new WeakSet<object>();
  #stopping = false;
  #begun = false;
  #announced = false;
  #poolStops = false;
  #patched = false;
  #timer: NodeJS.Timeout | undefined;
  #resolveDrained: (() => void) | undefined;

  constructor(deps: DrainDependencies) {
    this.#deps = deps;
  }

  /** Whether the worker leaves. */
  get hasBegun(): boolean {
    return this.#begun;
  }

  /** A stop signal came: from now on a close() of the program's drains. */
  stopSignalled(): void {
    this.#stopping = true;
  }

  /** No worker stays: what waits in the accept queue is for this one too. */
  poolStops(): void {
    this.#poolStops = true;
  }

  onDrain(callback: DrainCallback): void {
    this.#callbacks.push(callback);
  }

  udpBound(socket: UdpSocket): void {
    this.#udp.add(socket);
    socket.once('close', () => this.#udp.delete(socket));
  }

  serverListens(server: Server): void {
    this.#open.add(server);
    if (this.#known.has(server)) return;
    this.#known.add(server);
    const protocol = protocolOf(server);
    if (protocol !== 'tcp' && !this.#patched) {
      this.#patched = true;
      http().patchResponses((s) => this.#draining.has(s));
    }
    if (protocol !== 'tcp') this.#patchCloses(server);
    this.#deps.connections.watch(server, protocol === 'http2');
  }

  /** Called before any close(). */
  serverCloses(server: Server): void {
    this.#open.delete(server);
    if (!this.#stopping) return;
    this.#announce();
    this.#draining.add(server);
    for (const connection of this.#deps.connections.of(server)) this.#beginConnection(connection);
    this.#timer ??= setInterval(() => setImmediate(() => this.#look()), LOOK_MS).unref();
  }

  streamComes(connection: Connection): void {
    if (this.#draining.has(connection.server)) http2().goAwayTwice(connection);
  }

  /** With its last stream nghttp2 stops reading: the ping would not come back. */
  streamsDone(connection: Connection): void {
    if (connection.session?.goingAway) setImmediate(() => http2().closeSession(connection));
  }

  connectionsGone(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#resolveDrained?.();
  }

  /** Drains everything and exits. Once. */
  async begin(reason: string, orphaned = false): Promise<void> {
    if (this.#begun) return;
    this.#begun = true;
    this.#stopping = true;
    if (orphaned) setTimeout(() => process.exit(1), ORPHAN_MS);
    this.#announce();
    if (this.#poolStops) await this.#emptyAcceptQueues();
    const drained = this.#drainAll();
    const failed = await this.#runCallbacks(reason, drained);
    await drained;
    process.exit(failed ? 1 : undefined);
  }

  /** libuv accepts one connection, or all that wait, in each turn of the loop. */
  async #emptyAcceptQueues(): Promise<void> {
    const deadline = performance.now() + EMPTY_QUEUE_MS;
    if (this.#deps.narrowsQueues) for (const server of this.#open) narrowQueue(server);
    await turn();
    for (let accepted = -1; accepted !== this.#deps.connections.accepted && performance.now() < deadline; ) {
      accepted = this.#deps.connections.accepted;
      await turn();
    }
  }

  #announce(): void {
    if (!this.#announced) this.#deps.onBegin();
    this.#announced = true;
  }

  async #drainAll(): Promise<void> {
    for (const server of [...this.#open]) this.#deps.stopAccepting(server);
    const empty = new Promise<void>((resolve) => {
      this.#resolveDrained = resolve;
    });
    if (this.#deps.connections.all.size > 0) await empty;
    if (this.#udp.size > 0) await this.#drainUdp();
  }

  /** true: one of them failed, and has been reported. */
  async #runCallbacks(reason: string, drained: Promise<void>): Promise<boolean> {
    const results = await Promise.allSettled(
      this.#callbacks.map(async (callback) => callback({ reason, drained })),
    );
    const failures = results.filter((result) => result.status === 'rejected');
    for (const failure of failures) console.error('onDrain() callback failed:', failure.reason);
    return failures.length > 0;
  }

  /** Reads no more, and leaves when nothing else is under way. */
  async #drainUdp(): Promise<void> {
    for (const socket of this.#udp) {
      stopReceiving(socket);
      socket.unref();
    }
    await new Promise<void>((resolve) => {
      setTimeout(resolve, UDP_GRACE_MS).unref();
      process.once('beforeExit', () => resolve());
    });
  }

  #beginConnection(connection: Connection): void {
    connection.bytesRead = connection.socket.bytesRead;
    connection.quietSince = performance.now();
    if (connection.session !== undefined && connection.session.openStreams > 0)
      http2().goAwayTwice(connection);
  }

  /** Runs after a poll phase: what the kernel had for us has been read. */
  #look(): void {
    const now = performance.now();
    for (const server of this.#draining) {
      const idle = http().idleSockets(server);
      const lingerMs = this.#lingerOf(server);
      for (const connection of this.#deps.connections.of(server))
        this.#lookAt(connection, idle, lingerMs, now);
    }
  }

  #lookAt(connection: Connection, idle: Set<unknown> | null, lingerMs: number, now: number): void {
    const { socket } = connection;
    if (connection.bytesRead !== socket.bytesRead || isBusy(connection, idle)) {
      connection.bytesRead = socket.bytesRead;
      connection.quietSince = now;
      return;
    }
    const quietMs = now - connection.quietSince;
    if (connection.closing) {
      if (quietMs >= CLOSING_QUIET_MS) socket.destroy();
    } else if (connection.session !== undefined) {
      if (quietMs >= lingerMs) http2().closeSession(connection);
    } else if (http().speaksHttp(connection)) {
      // Node's own timer would destroy it, unread bytes or not.
      socket.setTimeout(0);
      if (quietMs >= lingerMs) http().closeGently(connection, null);
    } else if (isHandshaking(connection) && quietMs >= lingerMs) {
      socket.destroy();
    }
  }

  #lingerOf(server: Server): number {
    const { keepAliveTimeout } = server as { keepAliveTimeout?: number };
    return this.#deps.lingerMs ?? (keepAliveTimeout || DEFAULT_LINGER_MS);
  }

  /** During a stop a close() of http's must not reset idle connections, nor http2's (Node 24) end sessions at once. */
  #patchCloses(server: Server): void {
    for (let proto = Object.getPrototypeOf(server); proto !== null; proto = Object.getPrototypeOf(proto)) {
      if (isNodesServer(proto)) this.#patchClose(proto);
    }
  }

  #patchClose(proto: ServerPrototype): void {
    if (this.#known.has(proto)) return;
    this.#known.add(proto);
    const drain = this;
    const { closeIdleConnections } = proto;
    if (Object.hasOwn(proto, 'closeIdleConnections')) {
      proto.closeIdleConnections = function (this: Server) {
        if (!drain.#stopping) closeIdleConnections.call(this);
      };
    }
    const { close } = proto;
    if (Object.hasOwn(proto, 'close')) {
      proto.close = function (this: Server, callback) {
        if (!drain.#stopping) return close.call(this, callback);
        const { Server } = require('node:net') as typeof import('node:net');
        return Server.prototype.close.call(this, callback);
      };
    }
  }
}

interface ServerPrototype {
  constructor: { name: string };
  close(this: Server, callback?: (error?: Error) => void): Server;
  closeIdleConnections(this: Server): void;
}

/** The prototypes of http, https and http2: a program's own class may do more in its close(), which is left to it. */
function isNodesServer(proto: ServerPrototype): boolean {
  const { Server: HttpServer } = require('node:http') as typeof import('node:http');
  if (proto === (HttpServer.prototype as unknown)) return true;
  if (/^Http2(Secure)?Server$/.test(proto.constructor.name)) return true;
  const https = require('node:https') as typeof import('node:https');
  return proto === (https.Server.prototype as unknown);
}

/** A request is being received or answered. */
function isBusy(connection: Connection, idle: Set<unknown> | null): boolean {
  if (connection.session !== undefined) return connection.session.openStreams > 0;
  if (connection.closing || !http().speaksHttp(connection)) return false;
  if (connection.started > connection.finished) return true;
  if (idle === null || connection.socket.bytesRead === 0) return false;
  return !idle.has(connection.socket);
}

/** The plain socket under a TLS one that is not secured yet. */
function isHandshaking({ server, socket, secured }: Connection): boolean {
  return isTls(server) && !secured && !('encrypted' in socket);
}

/** Leaves further datagrams to the other workers. There is no public way; without it they are read to the end. */
function stopReceiving(socket: UdpSocket): void {
  const symbol = Object.getOwnPropertySymbols(socket).find((s) => s.description === 'state symbol');
  const state =
    symbol &&
    (socket as unknown as Record<symbol, { handle?: { recvStop?(): void } | null } | undefined>)[symbol];
  state?.handle?.recvStop?.();
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * listen(2) again with no backlog, which Node has no call for: while one connection waits the kernel drops further requests, and
 * their clients ask again after a second. On a Unix socket they would be refused.
 */
function narrowQueue(server: Server): void {
  if (typeof server.address() === 'string') return;
  (server as Server & { _handle?: { listen?(backlog: number): number } })._handle?.listen?.(0);
}
