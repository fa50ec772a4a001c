/** HTTP/1.1 over one connection, one request after the other, read so closely that nothing wrong is passed over. */
import type { Socket } from 'node:net';
import { Failed, socketTrouble } from './failure';

/** Longest head of an answer, or line in a body: 64 KiB. */
const MAX_HEAD_BYTES = 65_536;

export interface Http1Request {
  readonly path: string;
  readonly authority: string;
  readonly keepAlive: boolean;
  readonly expects: (status: number) => boolean;
  readonly timeoutMs?: number | undefined;
}

interface Head {
  readonly status: number;
  readonly line: string;
  readonly headers: ReadonlyMap<string, string>;
}

export class Http1Connection {
  answers = 0;
  /** X-Pid of the last answer */
  worker: number | null = null;
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  /** bytes of the answer under way */
  #answerBytes = 0;
  #wake: (() => void) | undefined;
  #ended: Failed | undefined;
  #isFinished = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data: Buffer) => {
      this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data]);
      this.#wake?.();
    });
    socket.on('error', (error) => this.#end(new Failed('reset', socketTrouble(error))));
    socket.on('end', () => {
      this.#isFinished = true;
      this.#end(new Failed('closed', 'end of file'));
    });
    socket.on('close', () => this.#end(new Failed('closed', 'closed')));
  }

  /** Sends a GET and reads the whole answer; whether the connection may be used again. Rejects with {@link Failed}. */
  async request(request: Http1Request): Promise<boolean> {
    const { timeoutMs } = request;
    if (this.#received.length > 0) throw new Failed('excess', 'bytes that nobody asked for');
    this.#answerBytes = 0;
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(
            () => this.#end(new Failed('timeout', `no whole answer within ${timeoutMs} ms`)),
            timeoutMs,
          );
    try {
      const connection = request.keepAlive ? 'keep-alive' : 'close';
      this.#socket.write(
        `GET ${request.path} HTTP/1.1\r\nHost: ${request.authority}\r\nConnection: ${connection}\r\n\r\n`,
      );
      return await this.#answer(request.expects);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#socket.removeAllListeners();
    this.#socket.on('error', () => {});
    this.#socket.destroy();
  }

  async #answer(expects: Http1Request['expects']): Promise<boolean> {
    let head = await this.#head();
    // 100 and 103 come before the answer.
    while (head.status < 200) head = await this.#head();
    const { status, headers } = head;
    const isLast = await this.#body(head);
    if (!expects(status)) throw new Failed('status', head.line);
    this.answers++;
    const pid = headers.get('x-pid');
    if (pid !== undefined) this.worker = Number(pid);
    const connection = (headers.get('connection') ?? '').toLowerCase();
    if (head.line.startsWith('HTTP/1.0')) return connection === 'keep-alive' && !isLast;
    return connection !== 'close' && !isLast;
  }

  async #head(): Promise<Head> {
    const [line = '', ...lines] = (await this.#until('\r\n\r\n')).split('\r\n');
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(line)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new Failed('malformed', `the answer begins with ${quote(line)}`);
    const headers = new Map(
      lines.map((text) => {
        const colon = text.indexOf(':');
        return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
      }),
    );
    return { status, line, headers };
  }

  /** Reads the body away. Whether it ended with the connection. */
  async #body({ status, headers }: Head): Promise<boolean> {
    if (status === 204 || status === 304) return false;
    if (headers.get('transfer-encoding')?.toLowerCase() === 'chunked') {
      await this.#chunked();
      return false;
    }
    const length = headers.get('content-length');
    if (length === undefined) {
      await this.#rest();
      return true;
    }
    if (!/^\d{1,15}$/.test(length)) throw new Failed('malformed', `Content-Length is ${quote(length)}`);
    await this.#skip(Number(length));
    return false;
  }

  async #chunked(): Promise<void> {
    for (;;) {
      const line = (await this.#until('\r\n')).trimEnd();
      const size = /^[0-9a-f]{1,12}(?=\s*(?:;|$))/i.exec(line)?.[0];
      if (size === undefined) throw new Failed('malformed', `a chunk begins with ${quote(line)}`);
      if (Number.parseInt(size, 16) === 0) break;
      await this.#skip(Number.parseInt(size, 16) + 2);
    }
    // Trailers, and the empty line.
    while ((await this.#until('\r\n')) !== '\r\n');
  }

  /** Until the server ends its side. That it was all of it cannot be told: libuv passes on a reset behind data as an end. */
  async #rest(): Promise<void> {
    while (!this.#isFinished) {
      this.#drop(this.#received.length);
      if (!this.#isFinished) await this.#more();
    }
    this.#drop(this.#received.length);
  }

  async #until(mark: string): Promise<string> {
    for (;;) {
      const at = this.#received.indexOf(mark);
      if (at >= 0) {
        const text = this.#received.toString('latin1', 0, at + mark.length);
        this.#drop(at + mark.length);
        return text;
      }
      if (this.#received.length > MAX_HEAD_BYTES)
        throw new Failed('malformed', `more than ${MAX_HEAD_BYTES} bytes of head`);
      await this.#more();
    }
  }

  async #skip(bytes: number): Promise<void> {
    let left = bytes;
    for (;;) {
      const here = Math.min(left, this.#received.length);
      this.#drop(here);
      left -= here;
      if (left === 0) return;
      await this.#more();
    }
  }

  #drop(bytes: number): void {
    this.#answerBytes += bytes;
    this.#received = this.#received.subarray(bytes);
  }

  #end(why: Failed): void {
    this.#ended ??= why;
    this.#wake?.();
  }

  async #more(): Promise<void> {
    if (this.#ended !== undefined) {
      const { kind, message } = this.#ended;
      const bytes = this.#answerBytes + this.#received.length;
      const cutOff = bytes > 0 && (kind === 'reset' || kind === 'closed');
      throw new Failed(cutOff ? 'short' : kind, `${message} after ${bytes} bytes of an answer`);
    }
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
