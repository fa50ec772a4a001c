/** The listening sockets of a service: opened once, kept across generations, closed when the manager ends. */
import { lstatSync, readFileSync, unlinkSync } from 'node:fs';
import type { Engine, EngineListener, ListenSpec } from '../engine/engine';
import { errnoNumber } from '../engine/errno';
import type { Credentials } from '../options/credentials';
import type { BootListener, WorkerMessage } from '../worker/protocol';
import { ANY_V4, ANY_V6, formatSocketAddress, type SocketAddress } from './addresses';

/** Most listeners that one service has; a program that asks for more in a loop is refused with EMFILE. */
export const MAX_LISTENERS = 1024;
/** Node's default, where neither operator nor program says. */
const DEFAULT_BACKLOG = 511;
/** The slot of a socket that all workers share. */
const SHARED = -1;

export interface Listener extends SocketAddress {
  readonly key: string;
  /** that the parent gave it (LISTEN_FDNAMES) */
  readonly name?: string;
  readonly fromBind: boolean;
  readonly backlog: number;
  readonly ipv6Only: boolean;
  readonly mode?: number;
  /** one socket, or one a slot with --reuse-port */
  readonly perSlot: boolean;
  readonly boundPort: number;
  readonly boundAddress: string;
  readonly sockets: Map<number, EngineListener>;
  /** a socket file that we made: removed at the end, if it is still ours */
  readonly file: { dev: number; ino: number } | null;
}

export type OpenResult = { listener: Listener } | { errno: number; code: string };

interface OpenOptions {
  backlog?: number;
  ipv6Only?: boolean;
  mode?: number;
  fromBind: boolean;
  key?: string;
}

/** Listeners as plain data, for a successor in this process that finds their descriptors open. */
export interface ListenersHandover {
  readonly listeners: readonly (Omit<Listener, 'sockets'> & {
    readonly sockets: readonly (readonly [number, EngineListener])[];
  })[];
  /** generation → call site → key */
  readonly sites: readonly (readonly [number, readonly (readonly [string, string])[]])[];
}

export type ListenRequest = Extract<WorkerMessage, { type: 'listen' }>;

export class Listeners {
  readonly #engine: Engine;
  readonly #reusePort: boolean;
  readonly #backlog: number | null;
  readonly #byKey = new Map<string, Listener>();
  /** requests for one address that come at the same time get the same answer */
  readonly #opening = new Map<string, Promise<OpenResult>>();
  /** per generation: the call site of a listen(0) → the key of its socket */
  readonly #sites = new Map<number, Map<string, string>>();

  constructor(engine: Engine, options: { reusePort: boolean; backlog: number | null }) {
    this.#engine = engine;
    this.#reusePort = options.reusePort;
    this.#backlog = options.backlog;
  }

  all(): Listener[] {
    return [...this.#byKey.values()];
  }

  get(key: string): Listener | undefined {
    return this.#byKey.get(key);
  }

  /** Opens an address, or returns the listener that stands. */
  async open(at: SocketAddress, options: OpenOptions): Promise<OpenResult> {
    const key = options.key ?? formatSocketAddress(at);
    const standing = this.#byKey.get(key);
    if (standing) return { listener: standing };
    const pending = this.#opening.get(key);
    if (pending) return pending;
    const opening = this.#open(at, key, options).finally(() => this.#opening.delete(key));
    this.#opening.set(key, opening);
    return opening;
  }

  /** A socket that was open before: from --bind fd:3, from systemd. */
  adopt(
    at: SocketAddress,
    socket: EngineListener,
    { fromBind, name }: { fromBind: boolean; name: string | null },
  ): Listener {
    const key = formatSocketAddress(at);
    const listener = this.#make(at, socket, {
      key,
      ...(name !== null && { name }),
      perSlot: false,
      fromBind,
      backlog: DEFAULT_BACKLOG,
      ipv6Only: false,
      file: null,
    });
    this.#byKey.set(key, listener);
    return listener;
  }

  /** What a worker asks for in the course of its listen(). `worker`: whom it runs as; null: as this process. */
  async request(
    request: ListenRequest,
    generation: number,
    worker: Credentials | null = null,
  ): Promise<OpenResult> {
    const at: SocketAddress = { kind: request.kind, address: request.address, port: request.port };
    if (isBeyond(at, worker) && !this.#byKey.has(formatSocketAddress(at))) {
      return { errno: errnoNumber('EACCES'), code: 'EACCES' };
    }
    const options: OpenOptions = { backlog: request.backlog, ipv6Only: request.ipv6Only, fromBind: false };
    if (request.mode !== undefined) options.mode = request.mode;
    if (at.kind !== 'unix' && at.port === 0) options.key = this.#keyOfSite(at, request.site, generation);
    return this.open(at, options);
  }

  /**
   * listen(0) is one port a call site. In a new generation the lines have moved: the first site that is not
   * known takes the first of the old sockets that no other site of its generation has.
   */
  #keyOfSite(at: SocketAddress, site: string, generation: number): string {
    let sites = this.#sites.get(generation);
    if (!sites) {
      sites = new Map();
      this.#sites.set(generation, sites);
    }
    const place = `${formatSocketAddress(at)} ${site}`;
    const known = sites.get(place);
    if (known !== undefined) return known;
    const taken = new Set(sites.values());
    const prefix = `${formatSocketAddress(at)}#`;
    const keys = new Set(
      [...this.#byKey.keys(), ...this.#opening.keys()].filter((key) => key.startsWith(prefix)),
    );
    let number = 1;
    while (taken.has(`${prefix}${number}`)) number++;
    const free = [...keys].find((key) => !taken.has(key));
    const key = free ?? `${prefix}${number}`;
    sites.set(place, key);
    return key;
  }

  /**
   * A socket of a manager that was killed, from a worker that has it. reusePort: it is that slot's own. false: there is
   * one in its place already.
   */
  receive(
    facts: Omit<BootListener, 'fd'> & { readonly reusePort: boolean },
    socket: EngineListener,
    slot: number,
  ): boolean {
    const { key, kind, address, port, fromBind, reusePort } = facts;
    const perSlot = reusePort && kind !== 'unix';
    const place = perSlot ? slot : SHARED;
    const standing = this.#byKey.get(key);
    if (standing?.sockets.has(place) || (standing && standing.perSlot !== perSlot)) return false;
    if (standing) standing.sockets.set(place, socket);
    else {
      const file = kind === 'unix' ? lstatSync(address, { throwIfNoEntry: false }) : undefined;
      this.#byKey.set(key, {
        key,
        kind,
        address,
        port,
        fromBind,
        perSlot,
        backlog: this.#backlog ?? DEFAULT_BACKLOG,
        ipv6Only: false,
        boundPort: socket.port,
        boundAddress: socket.address,
        sockets: new Map([[place, socket]]),
        file: file ? { dev: file.dev, ino: file.ino } : null,
      });
    }
    return true;
  }

  handOver(): ListenersHandover {
    return {
      listeners: this.all().map((listener) => ({ ...listener, sockets: [...listener.sockets] })),
      sites: [...this.#sites].map(([generation, sites]) => [generation, [...sites]]),
    };
  }

  takeOver({ listeners, sites }: ListenersHandover): void {
    for (const listener of listeners) {
      this.#byKey.set(listener.key, { ...listener, sockets: new Map(listener.sockets) });
    }
    for (const [generation, places] of sites) this.#sites.set(generation, new Map(places));
  }

  forgetGeneration(generation: number): void {
    this.#sites.delete(generation);
  }

  async #open(at: SocketAddress, key: string, options: OpenOptions): Promise<OpenResult> {
    if (this.#byKey.size >= MAX_LISTENERS) return { errno: -24, code: 'EMFILE' };
    const backlog = this.#backlog ?? (options.backlog || DEFAULT_BACKLOG);
    const perSlot = this.#reusePort && at.kind !== 'unix';
    const spec: ListenSpec = { ...at, backlog, reusePort: perSlot, ipv6Only: options.ipv6Only === true };
    if (options.mode !== undefined) spec.mode = options.mode;
    let result = await this.#engine.listen(spec);
    if ('code' in result && at.address === ANY_V6 && isWithoutIpv6(result.code)) {
      result = await this.#engine.listen({ ...spec, address: ANY_V4 });
    }
    if ('code' in result) return result;
    const file = at.kind === 'unix' ? lstatSync(at.address, { throwIfNoEntry: false }) : undefined;
    const listener = this.#make(at, result.listener, {
      key,
      perSlot,
      fromBind: options.fromBind,
      backlog,
      ipv6Only: spec.ipv6Only,
      file: file ? { dev: file.dev, ino: file.ino } : null,
      ...(options.mode !== undefined && { mode: options.mode }),
    });
    this.#byKey.set(key, listener);
    return { listener };
  }

  #make(
    at: SocketAddress,
    socket: EngineListener,
    rest: Omit<Listener, keyof SocketAddress | 'boundPort' | 'boundAddress' | 'sockets'>,
  ): Listener {
    const sockets = new Map([[rest.perSlot ? 0 : SHARED, socket]]);
    return { ...at, ...rest, boundPort: socket.port, boundAddress: socket.address, sockets };
  }

  /** The socket that a slot's worker listens on; opens it where it is the slot's first. null: it cannot be opened. */
  socketFor(listener: Listener, slot: number): EngineListener | null {
    const standing = listener.sockets.get(listener.perSlot ? slot : SHARED);
    if (standing || !listener.perSlot) return standing ?? null;
    const { kind, backlog, ipv6Only } = listener;
    const result = this.#engine.listen({
      kind,
      address: listener.boundAddress,
      port: listener.boundPort,
      backlog,
      ipv6Only,
      reusePort: true,
    });
    // Only Unix sockets are opened asynchronously, and those are never per slot.
    if (result instanceof Promise || 'code' in result) return null;
    listener.sockets.set(slot, result.listener);
    return result.listener;
  }

  /** What a new worker inherits: the socket of each listener and how it knows it. The first descriptor is 3. */
  bootListeners(slot: number): { boot: BootListener[]; inherit: number[]; listeners: Listener[] } {
    const boot: BootListener[] = [];
    const inherit: number[] = [];
    const listeners: Listener[] = [];
    for (const listener of this.#byKey.values()) {
      const socket = this.socketFor(listener, slot);
      if (socket === null) continue;
      const { key, kind, address, port, boundPort, fromBind } = listener;
      boot.push({ key, kind, address, port, boundPort, fromBind, fd: 3 + inherit.length });
      inherit.push(socket.fd);
      listeners.push(listener);
    }
    return { boot, inherit, listeners };
  }

  /**
   * Before a stop: no connection joins the queues any more, and this process lets go of the sockets, so that each
   * closes, and its address refuses, as soon as the last worker has taken what waits in it.
   */
  quiesce(): void {
    for (const listener of this.#byKey.values()) {
      removeFile(listener);
      for (const socket of listener.sockets.values()) {
        if (listener.kind === 'tcp') this.#engine.quiesceListener(socket);
      }
    }
    this.close();
  }

  /** Closes all, and removes the socket files that are still those that we made. */
  close(): void {
    for (const listener of this.#byKey.values()) {
      removeFile(listener);
      for (const socket of listener.sockets.values()) this.#engine.closeListener(socket);
    }
    this.#byKey.clear();
  }
}

/**
 * Whether an address is one that the privileges of this process would open, and those of the worker might not: a worker that has
 * dropped them must not get them back in this way. A path is looked up by whoever opens it, so that none is opened.
 */
function isBeyond({ kind, port }: SocketAddress, worker: Credentials | null): boolean {
  if (worker === null || worker.uid === 0 || process.geteuid!() !== 0) return false;
  return kind === 'unix' || (port > 0 && port < firstFreePort());
}

/** From here on a port is everybody's, ip(7). */
function firstFreePort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'latin1'));
  } catch {
    return 1024;
  }
}

/** No IPv6 in this kernel or container: every address then means every IPv4 address, as in Node itself. */
function isWithoutIpv6(code: string): boolean {
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || code === 'EINVAL';
}

function removeFile({ address, file }: Listener): void {
  if (file === null) return;
  const now = lstatSync(address, { throwIfNoEntry: false });
  if (now?.isSocket() && now.dev === file.dev && now.ino === file.ino) unlinkSync(address);
}
