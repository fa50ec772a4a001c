/** Every connection that a server of this worker has accepted, with what is under way on it. */
import { subscribe } from 'node:diagnostics_channel';
import type { Http2Session } from 'node:http2';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { ConnectionList } from './connectionList';
import { isTls, protocolOf } from './protocolOf';

export interface Connection {
  readonly socket: Socket;
  readonly server: Server;
  /** HTTP/1 requests whose headers have come, and responses that are out */
  started: number;
  finished: number;
  /** the plain socket under TLS: its handshake is done */
  secured: boolean;
  /** of HTTP/2 */
  session: Session | undefined;
  /** while draining: bytes read when last looked, and since when nothing has come (ms of performance.now()) */
  bytesRead: number;
  quietSince: number;
  /** being closed: half-closed, reading what the client still sends */
  closing: boolean;
  /** the socket has closed: nothing on it is under way any more */
  closed: boolean;
  /** TLS or another protocol over a socket that is a connection itself */
  readonly isOverAnother: boolean;
  /** neighbours in the list of all */
  previous: Connection | null;
  next: Connection | null;
}

export interface Session {
  readonly http2: Http2Session;
  openStreams: number;
  /** GOAWAY has been sent once */
  goingAway: boolean;
}

export interface ConnectionEvents {
  onStream(connection: Connection): void;
  onStreamsDone(connection: Connection): void;
  /** a request has come; on a connection of another protocol, the connection */
  onOpened(): void;
  /** what `onOpened` told is answered, or its connection has ended */
  onClosed(count: number): void;
  /** a connection has come or ended */
  onConnections(open: number): void;
  /** by a connection that has ended, in both directions */
  onBytes(read: number, written: number): void;
  /** a request has been answered, or a connection of another protocol been accepted */
  onServed(): void;
  /** no connection is left */
  onEmpty(): void;
}

interface RequestMessage {
  request: IncomingMessage;
  response: ServerResponse;
  socket: Socket;
  server: Server;
}

const CONNECTION = Symbol('prefork.connection');
const ORDINAL = Symbol('prefork.ordinal');

type Tracked = Socket & { [CONNECTION]?: Connection };
type Ordered = ServerResponse & { [ORDINAL]?: number };

export class Connections {
  readonly all = new ConnectionList();
  /** ever accepted */
  accepted = 0;
  readonly #events: ConnectionEvents;
  /** those of {@link all} that are no TLS over another of them */
  #open = 0;
  /** being handed to an HTTP/2 server, which makes its session at once */
  #arriving: Socket | undefined;

  /** One for all, since making one for each is felt where each connection brings one request. */
  readonly #onSocketClose: (this: Socket) => void;

  constructor(events: ConnectionEvents) {
    this.#events = events;
    const ended = (connection: Connection) => this.#ended(connection);
    this.#onSocketClose = function onSocketClose(this: Socket) {
      const connection = connectionOf(this);
      if (connection !== undefined) ended(connection);
    };
  }

  /** Diagnostics channels: the program's listeners are not touched. */
  install(): void {
    subscribe('net.server.socket', (message) => {
      const { socket } = message as { socket: Socket & { server?: Server } };
      if (socket.server === undefined || socket.destroyed) return;
      this.#track(socket, socket.server);
      if (protocolOf(socket.server) !== 'tcp') return;
      this.#events.onOpened();
      socket.once('close', () => this.#events.onClosed(1));
      this.#events.onServed();
    });
    subscribe('http.server.request.start', (message) => {
      const { response, socket, server } = message as RequestMessage;
      const connection = connectionOf(socket) ?? this.#track(socket, server);
      (response as Ordered)[ORDINAL] = ++connection.started;
      if (!connection.closed) this.#events.onOpened();
    });
    subscribe('http.server.response.finish', (message) => {
      const connection = connectionOf((message as RequestMessage).socket);
      if (connection === undefined) return;
      connection.finished++;
      if (!connection.closed) this.#events.onClosed(1);
      this.#events.onServed();
    });
  }

  /** What the channels do not tell: which TLS socket and which HTTP/2 session a connection carries. */
  watch(server: Server, http2: boolean): void {
    if (isTls(server)) {
      server.prependListener('secureConnection', (socket: Socket) => {
        this.#arriving = socket;
        this.#track(socket, server);
        const plain = connectionOf((socket as { _parent?: Socket })._parent);
        // Without a way to tell which it was, none is taken for one in its handshake.
        for (const connection of plain === undefined ? this.of(server) : [plain]) connection.secured = true;
      });
    } else if (http2) {
      server.prependListener('connection', (socket: Socket) => {
        this.#arriving = socket;
        this.#track(socket, server);
      });
    }
    if (http2) server.on('session', (session: Http2Session) => this.#watchSession(session));
  }

  /** Requests that those which are connected may have under way, or send before they hear that no more are taken. */
  get expected(): number {
    let count = 0;
    for (const { session } of this.all.toArray()) count += 1 + (session?.openStreams ?? 0);
    return count;
  }

  of(server: Server): Connection[] {
    return this.all.toArray().filter((connection) => connection.server === server);
  }

  #track(socket: Socket, server: Server): Connection {
    const known = connectionOf(socket);
    if (known !== undefined) return known;
    const connection: Connection = {
      socket,
      server,
      started: 0,
      finished: 0,
      secured: false,
      session: undefined,
      bytesRead: -1,
      quietSince: 0,
      closing: false,
      closed: false,
      isOverAnother: connectionOf((socket as { _parent?: Socket })._parent) !== undefined,
      previous: null,
      next: null,
    };
    (socket as Tracked)[CONNECTION] = connection;
    this.all.add(connection);
    this.accepted++;
    if (!connection.isOverAnother) this.#events.onConnections(++this.#open);
    socket.on('close', this.#onSocketClose);
    return connection;
  }

  #ended(connection: Connection): void {
    if (connection.closed) return;
    connection.closed = true;
    this.all.delete(connection);
    const { socket, started, finished, isOverAnother } = connection;
    if (started > finished) this.#events.onClosed(started - finished);
    if (!isOverAnother) {
      this.#events.onConnections(--this.#open);
      this.#events.onBytes(socket.bytesRead, socket.bytesWritten);
    }
    if (this.all.size === 0) this.#events.onEmpty();
  }

  #watchSession(http2: Http2Session): void {
    const connection = this.#arriving && connectionOf(this.#arriving);
    if (connection === undefined) return;
    const session: Session = { http2, openStreams: 0, goingAway: false };
    connection.session = session;
    http2.on('stream', (stream) => {
      session.openStreams++;
      this.#events.onOpened();
      this.#events.onStream(connection);
      stream.once('close', () => {
        this.#events.onClosed(1);
        this.#events.onServed();
        if (--session.openStreams === 0) this.#events.onStreamsDone(connection);
      });
    });
  }
}

export function connectionOf(socket: Socket | null | undefined): Connection | undefined {
  return (socket as Tracked | null | undefined)?.[CONNECTION];
}

/** Whether nothing that came after this request on its connection waits for an answer. */
export function isLastRequest(response: ServerResponse, connection: Connection): boolean {
  return (response as Ordered)[ORDINAL] === connection.started;
}
