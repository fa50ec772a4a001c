/**
 * A client that forgives nothing: every request must be answered with 200 and its whole body. A connection refused, reset or closed
 * under a request counts as a failure, also on a kept-alive connection. Only what HTTP/2 itself calls safe to send again (a
 * stream refused, or above the last id of a GOAWAY) is sent again, once.
 */
import { readFileSync } from 'node:fs';
import * as http2 from 'node:http2';
import * as net from 'node:net';
import * as tls from 'node:tls';

export interface StrictClientOptions {
  protocol: 'http' | 'https' | 'http2' | 'h2c';
  /** of the server, or `socketPath` */
  port?: number;
  host?: string;
  socketPath?: string;
  /** connections that send one request after the other (http2: sessions with one stream after the other) */
  keepAlive: number;
  /** loops that open a connection for every request */
  oneShot: number;
  path?: string;
  /** pause between requests of one connection, to leave it idle at times; milliseconds */
  thinkMs?: number;
  /** file of the certificate to trust */
  caFile?: string;
}

export interface Failure {
  /** `refused`: connect failed. `reset`: error on the socket. `closed`: ended without a (whole) answer */
  kind: 'refused' | 'reset' | 'closed' | 'status' | 'excess';
  detail: string;
  /** how many answers the connection had given before */
  answersBefore: number;
  /** X-Pid of the last of them: the worker that the connection was with */
  worker: number | null;
}

export interface StrictReport {
  requests: number;
  connections: number;
  /** HTTP/2 streams sent again */
  retried: number;
  failures: Failure[];
}

class Failed extends Error {
  constructor(
    readonly kind: Failure['kind'],
    detail: string,
  ) {
    super(detail);
  }
}

export class StrictClient {
  readonly #options: StrictClientOptions;
  readonly #report: StrictReport = { requests: 0, connections: 0, retried: 0, failures: [] };
  readonly #loops: Promise<void>[] = [];
  readonly #waiting: { requests: number; resolve(): void }[] = [];
  readonly #ca: Buffer | undefined;
  #stopping = false;

  constructor(options: StrictClientOptions) {
    this.#options = options;
    this.#ca = options.caFile === undefined ? undefined : readFileSync(options.caFile);
  }

  start(): this {
    const { keepAlive, oneShot, protocol } = this.#options;
    const isHttp2 = protocol === 'http2' || protocol === 'h2c';
    for (let i = 0; i < keepAlive + oneShot; i++) {
      this.#loops.push(isHttp2 ? this.#loopHttp2(i < keepAlive) : this.#loopHttp1(i < keepAlive));
    }
    return this;
  }

  /** Resolves when so many further requests have been answered. */
  answered(requests: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ requests: this.#report.requests + requests, resolve });
    });
  }

  get failures(): readonly Failure[] {
    return this.#report.failures;
  }

  /** Finishes the requests under way. */
  async stop(): Promise<StrictReport> {
    this.#stopping = true;
    await Promise.all(this.#loops);
    return this.#report;
  }

  #count(): void {
    this.#report.requests++;
    while (this.#waiting[0] !== undefined && this.#waiting[0].requests <= this.#report.requests) {
      this.#waiting.shift()?.resolve();
    }
  }

  async #fail(error: unknown, answersBefore: number, worker: number | null = null): Promise<void> {
    const kind = error instanceof Failed ? error.kind : 'reset';
    const detail = error instanceof Error ? error.message : String(error);
    this.#report.failures.push({ kind, detail, answersBefore, worker });
    // A server that is gone would be asked as fast as the loop turns.
    await pause(20);
  }

  async #think(): Promise<void> {
    if (this.#options.thinkMs) await pause(this.#options.thinkMs * 2 * Math.random());
  }

  async #loopHttp1(keepAlive: boolean): Promise<void> {
    let connection: Http1Connection | undefined;
    while (!this.#stopping) {
      const answersBefore = connection?.answers ?? 0;
      try {
        if (connection === undefined) {
          this.#report.connections++;
          connection = await Http1Connection.open(await this.#connect());
        }
        const mayStay = await connection.request(this.#options.path ?? '/', keepAlive);
        this.#count();
        if (!mayStay || !keepAlive) {
          connection.close();
          connection = undefined;
        }
        await this.#think();
      } catch (error) {
        const worker = connection?.worker ?? null;
        connection?.close();
        connection = undefined;
        await this.#fail(error, answersBefore, worker);
      }
    }
    connection?.close();
  }

  #connect(): Promise<net.Socket> {
    const { port, host, socketPath, protocol } = this.#options;
    const to =
      socketPath === undefined ? { port: port ?? 0, host: host ?? '127.0.0.1' } : { path: socketPath };
    const secure = protocol === 'https' || protocol === 'http2';
    const alpn = protocol === 'http2' ? ['h2'] : ['http/1.1'];
    return new Promise((resolve, reject) => {
      const socket = secure
        ? tls.connect({
            ...to,
            ...(this.#ca && { ca: this.#ca }),
            servername: 'localhost',
            ALPNProtocols: alpn,
          })
        : net.connect({ ...to, noDelay: true } as net.NetConnectOpts);
      const refused = (error: Error) => reject(new Failed('refused', error.message));
      socket.once('error', refused);
      socket.once('close', () => reject(new Failed('refused', 'closed while connecting')));
      socket.once(secure ? 'secureConnect' : 'connect', () => {
        socket.removeListener('error', refused);
        socket.removeAllListeners('close');
        resolve(socket);
      });
    });
  }

  async #loopHttp2(keepAlive: boolean): Promise<void> {
    let session: Http2Connection | undefined;
    while (!this.#stopping) {
      const answersBefore = session?.answers ?? 0;
      try {
        for (let attempt = 0; ; attempt++) {
          if (session === undefined || session.leaving) {
            session?.close();
            this.#report.connections++;
            session = new Http2Connection(await this.#connect());
          }
          const outcome = await session.request(this.#options.path ?? '/');
          if (outcome === 'answered') break;
          if (attempt > 0) throw new Failed('reset', 'refused twice');
          this.#report.retried++;
          session.leaving = true;
        }
        this.#count();
        if (!keepAlive) {
          session.close();
          session = undefined;
        }
        await this.#think();
      } catch (error) {
        session?.close();
        session = undefined;
        await this.#fail(error, answersBefore);
      }
    }
    session?.close();
  }
}

class Http1Connection {
  answers = 0;
  worker: number | null = null;
  readonly #socket: net.Socket;
  #received = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #ended: Failed | undefined;

  static async open(socket: net.Socket): Promise<Http1Connection> {
    return new Http1Connection(socket);
  }

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (data: Buffer) => {
      this.#received = Buffer.concat([this.#received, data]);
      this.#wake?.();
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      this.#end(new Failed('reset', error.code ?? error.message)),
    );
    socket.on('end', () => this.#end(new Failed('closed', 'end of file')));
    socket.on('close', () => this.#end(new Failed('closed', 'closed')));
  }

  #end(why: Failed): void {
    this.#ended ??= why;
    this.#wake?.();
  }

  /** Whether the connection may be used again. */
  async request(path: string, keepAlive: boolean): Promise<boolean> {
    if (this.#received.length > 0) throw new Failed('excess', 'bytes that nobody asked for');
    const connection = keepAlive ? 'keep-alive' : 'close';
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: ${connection}\r\n\r\n`);
    const head = await this.#until('\r\n\r\n');
    const status = Number(head.slice(9, 12));
    const headers = new Map(
      head
        .split('\r\n')
        .slice(1)
        .map((line) => [
          line.slice(0, line.indexOf(':')).toLowerCase(),
          line.slice(line.indexOf(':') + 1).trim(),
        ]),
    );
    if (headers.get('transfer-encoding') === 'chunked') await this.#chunked();
    else await this.#take(Number(headers.get('content-length') ?? 0));
    if (status !== 200) throw new Failed('status', head.split('\r\n', 1)[0] ?? head);
    this.answers++;
    const pid = headers.get('x-pid');
    if (pid !== undefined) this.worker = Number(pid);
    return headers.get('connection')?.toLowerCase() !== 'close';
  }

  close(): void {
    this.#socket.removeAllListeners();
    this.#socket.on('error', () => {});
    this.#socket.destroy();
  }

  async #chunked(): Promise<void> {
    for (;;) {
      const size = Number.parseInt(await this.#until('\r\n'), 16);
      await this.#take(size + 2);
      if (size === 0) return;
    }
  }

  async #until(mark: string): Promise<string> {
    for (;;) {
      const at = this.#received.indexOf(mark);
      if (at >= 0) return (await this.#take(at + mark.length)).toString('latin1', 0, at);
      await this.#more();
    }
  }

  async #take(bytes: number): Promise<Buffer> {
    while (this.#received.length < bytes) await this.#more();
    const taken = this.#received.subarray(0, bytes);
    this.#received = this.#received.subarray(bytes);
    return taken;
  }

  async #more(): Promise<void> {
    if (this.#ended !== undefined) {
      throw new Failed(
        this.#ended.kind,
        `${this.#ended.message} after ${this.#received.length} bytes of an answer`,
      );
    }
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

class Http2Connection {
  answers = 0;
  /** the server has said that it goes away */
  leaving = false;
  readonly #session: http2.ClientHttp2Session;

  constructor(socket: net.Socket) {
    this.#session = http2.connect('http://localhost', { createConnection: () => socket });
    this.#session.on('error', () => {});
    this.#session.on('goaway', () => {
      this.leaving = true;
    });
    this.#session.on('close', () => {
      this.leaving = true;
    });
  }

  request(path: string): Promise<'answered' | 'again'> {
    return new Promise((resolve, reject) => {
      let stream: http2.ClientHttp2Stream;
      try {
        stream = this.#session.request({ ':path': path, ':authority': 'localhost' });
      } catch {
        // It could not even be sent.
        resolve('again');
        return;
      }
      let status = 0;
      let expected = 0;
      let received = 0;
      let failed: NodeJS.ErrnoException | undefined;
      stream.on('response', (headers) => {
        status = headers[':status'] ?? 0;
        expected = Number(headers['content-length'] ?? 0);
      });
      stream.on('data', (data: Buffer) => {
        received += data.length;
      });
      stream.on('error', (error) => {
        failed = error;
      });
      stream.on('close', () => {
        // Never got an id, or refused: not processed.
        if (stream.id === undefined || stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM)
          resolve('again');
        else if (failed !== undefined) reject(new Failed('reset', `${failed.code} ${failed.message}`));
        else if (status === 0) reject(new Failed('closed', `stream ${stream.id} ended without an answer`));
        else if (status !== 200) reject(new Failed('status', String(status)));
        else if (received !== expected) reject(new Failed('closed', `${received} of ${expected} bytes`));
        else {
          this.answers++;
          resolve('answered');
        }
      });
      stream.end();
    });
  }

  close(): void {
    this.#session.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
