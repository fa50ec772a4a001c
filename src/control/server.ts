/**
 * The control socket's side that has nothing to do with what is asked: who may ask, how much, and how often. A client that
 * stalls, floods or talks nonsense is closed, and costs the manager no wait.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Binding } from '../engine/binding';
import { describeErrno } from '../errors';
import type { Log } from '../manager/log';
import {
  type ControlErrorCode,
  MAX_REQUEST_BYTES,
  MAX_RESPONSE_BYTES,
  parseRequest,
  type Request,
  type Response,
} from './protocol';
import { RateLimit } from './rate-limit';
import { type ControlSocket, listenAt, resumeAt, type SocketHandover } from './socket';

/** Clients at a time; a further one is closed when it comes. */
const MAX_CLIENTS = 16;
/** Connections at once and a second; further ones are closed when they come. */
const CONNECTIONS = { burst: 64, perSecond: 32 };
/** Requests of one client at once and a second; with a further one it is closed. */
const REQUESTS = { burst: 32, perSecond: 16 };
/** Requests of one client that are not answered yet; with a further one it is closed. */
const MAX_PENDING = 8;
/** For a client to come out with a whole request, or to read an answer. */
const REQUEST_TIMEOUT_MS = 10_000;
const NEWLINE = 0x0a;
/** Beyond the standard ones. */
const FIRST_FREE_FD = 3;

/** Where the answer to a request goes. All are harmless once the client has gone. */
export interface Reply {
  progress(text: string): void;
  succeed(result: unknown): void;
  fail(code: ControlErrorCode, message: string): void;
  /** In the place of an answer: the connection itself, as a descriptor that the caller closes; null where there is none any more. */
  detach(): number | null;
}

export type Handler = (request: Request, reply: Reply) => void;

export class ControlServer {
  readonly #binding: Binding | null;
  readonly #log: Log;
  readonly #handle: Handler;
  readonly #clients = new Set<Client>();
  readonly #connections = new RateLimit(CONNECTIONS.burst, CONNECTIONS.perSecond);
  readonly #server: Server;
  #socket: ControlSocket | null = null;

  /** `binding` checks who connects; without it the file's mode alone keeps others out. */
  constructor(binding: Binding | null, log: Log, handle: Handler) {
    this.#binding = binding;
    this.#log = log;
    this.#handle = handle;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#onConnection(socket));
    this.#server.maxConnections = MAX_CLIENTS;
  }

  /** Throws as {@link listenAt}. */
  async open(path: string): Promise<void> {
    this.#listening(await listenAt(this.#server, path, this.#binding));
  }

  /** Goes on with the socket of the manager that this process was before. */
  resume(handover: SocketHandover): void {
    this.#listening(resumeAt(this.#server, handover));
  }

  get handover(): SocketHandover | null {
    return this.#socket?.handover ?? null;
  }

  close(): void {
    this.#socket?.close();
    for (const client of this.#clients) client.close();
  }

  #listening(socket: ControlSocket): void {
    this.#socket = socket;
    this.#server.on('error', (err) => this.#log.warn({ err }, `control socket: ${describeErrno(err)}`));
  }

  #onConnection(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (!this.#connections.take() || !this.#mayAsk(socket)) {
      socket.destroy();
      return;
    }
    const client = new Client(socket, this.#handle, this.#binding);
    this.#clients.add(client);
    socket.once('close', () => this.#clients.delete(client));
  }

  /** The same user, or root. Another is told nothing. */
  #mayAsk(socket: Socket): boolean {
    if (this.#binding === null) return true;
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const peer = this.#binding.peercred(fd);
    // Gone again already.
    if (typeof peer === 'number') return false;
    const { uid, pid } = peer;
    if (uid === 0 || uid === process.geteuid!()) return true;
    this.#log.warn(
      { event: 'control-refused', uid, pid },
      `control socket: user ${uid} (process ${pid}) was refused`,
    );
    return false;
  }
}

class Client {
  readonly #binding: Binding | null;
  readonly #socket: Socket;
  readonly #handle: Handler;
  readonly #requests = new RateLimit(REQUESTS.burst, REQUESTS.perSecond);
  #line: Buffer[] = [];
  #lineBytes = 0;
  #pending = 0;
  /** has said all that it wants to say, or all that we want to hear */
  #ended = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(socket: Socket, handle: Handler, binding: Binding | null) {
    this.#binding = binding;
    this.#socket = socket;
    this.#handle = handle;
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.once('end', () => this.#end());
    socket.once('close', () => this.#disarm());
    this.#arm();
  }

  close(): void {
    // What was answered has been written: it fits into the socket, or its reader stalls.
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    let rest = chunk;
    while (!this.#ended && rest.length > 0) {
      const end = rest.indexOf(NEWLINE);
      const part = end < 0 ? rest : rest.subarray(0, end);
      rest = end < 0 ? rest.subarray(rest.length) : rest.subarray(end + 1);
      this.#lineBytes += part.length;
      if (this.#lineBytes >= MAX_REQUEST_BYTES) {
        this.#refuse('PROTOCOL', `a request has at most ${MAX_REQUEST_BYTES} bytes`);
        return;
      }
      this.#line.push(part);
      if (end >= 0) this.#onLine();
    }
  }

  #onLine(): void {
    const line = Buffer.concat(this.#line).toString();
    this.#line = [];
    this.#lineBytes = 0;
    if (!this.#requests.take() || this.#pending >= MAX_PENDING) {
      this.#refuse('BUSY', 'too many requests');
      return;
    }
    const request = parseRequest(line);
    if ('problem' in request) {
      this.#refuse('PROTOCOL', `not understood: ${request.problem}`);
      return;
    }
    this.#pending++;
    this.#disarm();
    this.#handle(request, this.#replyTo(request.id));
  }

  #replyTo(id: number): Reply {
    let answered = false;
    const answer = (response: Response): void => {
      if (answered) return;
      answered = true;
      this.#pending--;
      this.#send(response);
      if (this.#pending > 0) return;
      if (this.#ended) this.#socket.end();
      this.#arm();
    };
    return {
      progress: (text) => {
        if (!answered) this.#send({ v: 1, id, progress: text });
      },
      succeed: (result) => answer({ v: 1, id, ok: true, result }),
      fail: (code, message) => answer({ v: 1, id, ok: false, error: { code, message } }),
      detach: () => this.#detach(),
    };
  }

  #detach(): number | null {
    const { fd } = (this.#socket as unknown as { _handle: { fd: number } | null })._handle ?? { fd: -1 };
    const kept = fd < 0 ? fd : (this.#binding?.dup(fd, FIRST_FREE_FD) ?? -1);
    this.#ended = true;
    this.#socket.destroy();
    return kept < 0 ? null : kept;
  }

  /** The last word to this client. */
  #refuse(code: ControlErrorCode, message: string): void {
    this.#ended = true;
    this.#send({ v: 1, id: null, ok: false, error: { code, message } });
    // One that does not read even that is closed when its time is up.
    this.#socket.destroySoon();
    this.#arm();
  }

  #end(): void {
    this.#ended = true;
    if (this.#pending === 0) this.#socket.end();
  }

  #send(response: Response): void {
    if (!this.#socket.writable) return;
    this.#socket.write(`${JSON.stringify(response)}\n`);
    if (this.#socket.writableLength > MAX_RESPONSE_BYTES) this.#socket.destroy();
  }

  /** From now on it has a while to ask. */
  #arm(): void {
    this.#disarm();
    this.#timer = setTimeout(() => this.#socket.destroy(), REQUEST_TIMEOUT_MS).unref();
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
