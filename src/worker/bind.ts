/**
 * `socket.bind(port)` of dgram gets the manager's UDP socket. Ephemeral ports (port 0, and so what send() binds) stay the
 * worker's own: an answer has to reach the one that asked.
 */
import type { Socket } from 'node:dgram';
import { lookup } from 'node:dns';
import { isIP } from 'node:net';
import type { Channel, Delivery } from './channel';
import { discard } from './listen';
import type { Listener, ListenerTable, Wanted } from './listenerTable';
import { systemError } from './systemError';

const EADDRINUSE = -98;
const ETIMEDOUT = -110;

type Bind = (this: Socket, ...args: unknown[]) => Socket;
type Emit = (event: string, ...args: unknown[]) => boolean;
type Callback = (() => void) | undefined;

interface BindArgs {
  readonly port: number;
  readonly address: string;
  readonly callback: Callback;
}

export interface BindEvents {
  nextSeq(): number;
  onBind(socket: Socket): void;
}

export class BindHook {
  readonly #channel: Channel;
  readonly #table: ListenerTable;
  readonly #events: BindEvents;
  readonly #pending = new WeakSet<Socket>();
  #original: Bind | undefined;

  constructor(channel: Channel, table: ListenerTable, events: BindEvents) {
    this.#channel = channel;
    this.#table = table;
    this.#events = events;
  }

  install(): void {
    const hook = this;
    const { prototype } = (require('node:dgram') as typeof import('node:dgram')).Socket;
    const original = prototype.bind as Bind;
    this.#original = original;
    prototype.bind = function bind(this: Socket, ...args: unknown[]) {
      return hook.#bind(this, args, original);
    } as Socket['bind'];
  }

  #bind(socket: Socket, args: unknown[], original: Bind): Socket {
    if (this.#pending.has(socket)) {
      // send() binds an unbound socket; this one is about to be.
      if (isImplicit(args)) return socket;
      throw alreadyBound();
    }
    const fd = fdOf(args);
    if (fd !== undefined) return this.#bindFd(socket, fd, args, original);
    const parsed = parseBindArgs(socket, args);
    if (parsed === null) return original.apply(socket, args);
    if (isIP(parsed.address)) this.#seek(socket, parsed, parsed.address);
    else this.#lookup(socket, parsed);
    return socket;
  }

  #bindFd(socket: Socket, fd: number, args: unknown[], original: Bind): Socket {
    const listener = this.#table.byFd(fd);
    original.apply(socket, args);
    if (listener !== undefined) this.#bound(socket, listener, listener);
    return socket;
  }

  #lookup(socket: Socket, args: BindArgs): void {
    this.#pending.add(socket);
    lookup(args.address, { family: familyOf(socket) === 'IPv6' ? 6 : 4 }, (error, address) => {
      this.#pending.delete(socket);
      if (isClosed(socket)) return;
      if (error === null) this.#seek(socket, args, address);
      else socket.emit('error', error);
    });
  }

  #seek(socket: Socket, args: BindArgs, address: string): void {
    const wanted: Wanted = { kind: 'udp', address, port: args.port, family: familyOf(socket) };
    const found = this.#table.find(wanted);
    const first = typeof found === 'string' ? undefined : found[0];
    if (found === 'taken') this.#fail(socket, EADDRINUSE, address, args.port);
    else if (first?.socket !== undefined) this.#use(socket, args, wanted, first);
    else if (first === undefined) this.#ask(socket, args, wanted, address, args.port);
    else this.#ask(socket, args, wanted, first.address, first.port);
  }

  #ask(socket: Socket, args: BindArgs, wanted: Wanted, address: string, port: number): void {
    const request = { type: 'listen', seq: this.#events.nextSeq(), kind: 'udp', address, port } as const;
    this.#pending.add(socket);
    this.#channel.ask({ ...request, backlog: 0, ipv6Only: false, site: '' }, (delivery) => {
      this.#pending.delete(socket);
      if (isClosed(socket)) {
        if (delivery !== undefined) discard(delivery);
      } else this.#answered(socket, args, wanted, address, delivery);
    });
  }

  #answered(socket: Socket, args: BindArgs, wanted: Wanted, address: string, delivery?: Delivery): void {
    const answer = delivery?.message;
    if (answer?.type !== 'listener') return this.#fail(socket, ETIMEDOUT, address, args.port);
    if ('errno' in answer) return this.#fail(socket, answer.errno, address, args.port);
    const { fd, handle } = delivery as Delivery;
    const known = this.#table.byKey(answer.key);
    const received = fd === undefined ? handle : { fd };
    if (received === undefined || known?.owner !== undefined) {
      discard(delivery as Delivery);
      return this.#fail(socket, EADDRINUSE, address, args.port);
    }
    const { key, boundPort } = answer;
    const facts = { key, kind: 'udp' as const, address, port: args.port, boundPort, fromBind: false };
    const listener = known ?? { ...facts, socket: received, owner: undefined, ownerAddress: null };
    listener.socket = received;
    if (known === undefined) this.#table.add(listener);
    this.#use(socket, args, wanted, listener);
  }

  /** Bound at once, so that send() works; `listening` is emitted later, as after any bind(). */
  #use(socket: Socket, args: BindArgs, wanted: Wanted, listener: Listener): void {
    const received = listener.socket as NonNullable<Listener['socket']>;
    const target = 'close' in received ? received : { fd: received.fd, exclusive: true };
    const restore = deferListening(socket);
    try {
      (this.#original as Bind).call(socket, target, ...(args.callback ? [args.callback] : []));
    } finally {
      restore();
    }
    this.#bound(socket, listener, wanted);
  }

  #bound(socket: Socket, listener: Listener, wanted: Wanted): void {
    this.#table.take(listener, socket, wanted);
    this.#events.onBind(socket);
    this.#channel.send({ type: 'listening', key: listener.key, protocol: 'udp' });
    socket.once('close', () => {
      for (const { key } of this.#table.release(socket)) this.#channel.send({ type: 'unlistening', key });
    });
  }

  #fail(socket: Socket, errno: number, address: string, port: number): void {
    const error = systemError(errno, 'bind', address, port);
    process.nextTick(() => socket.emit('error', error));
  }
}

/** null: for Node to do or refuse. */
function parseBindArgs(socket: Socket, args: readonly unknown[]): BindArgs | null {
  const [first, second] = args;
  const options = (
    typeof first === 'object' && first !== null ? first : { port: first, address: second }
  ) as {
    port?: unknown;
    address?: unknown;
    recvStart?: unknown;
  };
  if (options.recvStart || isBoundOrClosed(socket)) return null;
  const port =
    typeof options.port === 'string' || typeof options.port === 'number' ? Number(options.port) : 0;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return null;
  const { address } = options;
  if (address && typeof address !== 'string' && typeof address !== 'function') return null;
  const last = args.at(-1);
  const anywhere = familyOf(socket) === 'IPv6' ? '::' : '0.0.0.0';
  return {
    port,
    address: typeof address === 'string' && address !== '' ? address : anywhere,
    callback: typeof last === 'function' ? (last as Callback) : undefined,
  };
}

function fdOf([first]: readonly unknown[]): number | undefined {
  const fd = typeof first === 'object' && first !== null ? (first as { fd?: unknown }).fd : undefined;
  return typeof fd === 'number' && Number.isInteger(fd) && fd > 0 ? fd : undefined;
}

/** The arguments with which send() and addMembership() bind. */
function isImplicit([first]: readonly unknown[]): boolean {
  const options = first as { port?: unknown; exclusive?: unknown } | null | undefined;
  return options?.port === 0 && options.exclusive === true;
}

function familyOf(socket: Socket): 'IPv4' | 'IPv6' {
  return (socket as unknown as { type: string }).type === 'udp6' ? 'IPv6' : 'IPv4';
}

function isBoundOrClosed(socket: Socket): boolean {
  try {
    return socket.address().port !== 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_SOCKET_DGRAM_NOT_RUNNING';
  }
}

function isClosed(socket: Socket): boolean {
  try {
    socket.address();
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_SOCKET_DGRAM_NOT_RUNNING';
  }
}

/** Listeners of `listening` that the program adds after bind() are called. Returns what ends the deferral. */
function deferListening(socket: Socket): () => void {
  const target = socket as unknown as { emit?: Emit };
  const emit = socket.emit as Emit;
  const own = Object.hasOwn(socket, 'emit');
  target.emit = (event, ...args) => {
    if (event !== 'listening') return emit.call(socket, event, ...args);
    process.nextTick(() => {
      if (!isClosed(socket)) socket.emit('listening');
    });
    return true;
  };
  return () => {
    if (own) target.emit = emit;
    else delete target.emit;
  };
}

function alreadyBound(): Error {
  return Object.assign(new Error('Socket is already bound'), { code: 'ERR_SOCKET_ALREADY_BOUND' });
}
