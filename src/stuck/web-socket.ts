/**
 * A client of RFC 6455 as far as Node's inspector needs one: text messages over loopback, whose server neither fragments nor
 * compresses. Node.js 20 has no WebSocket of its own.
 */
import { randomBytes } from 'node:crypto';
import { get, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** A server that sends a longer message is none of Node's. */
const MAX_MESSAGE_BYTES = 16 * 1_048_576;
const TEXT = 1;
const CLOSE = 8;
const MAX_SHORT = 125;

export class WebSocketClient {
  readonly #socket: Socket;
  readonly #onMessage: (text: string) => void;
  #chunks: Buffer[] = [];
  #length = 0;

  private constructor(socket: Socket, head: Buffer, onMessage: (text: string) => void) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    socket.on('data', (chunk) => this.#receive(chunk));
    if (head.length > 0) this.#receive(head);
  }

  /** Rejects where there is no such server, or `signal` says so; `signal` also ends the connection. `onEnd`: it has ended, either way. */
  static connect(
    url: string,
    signal: AbortSignal,
    onMessage: (text: string) => void,
    onEnd: () => void,
  ): Promise<WebSocketClient> {
    return new Promise((resolve, reject) => {
      const request = get(url.replace(/^ws:/, 'http:'), {
        signal,
        agent: false,
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': randomBytes(16).toString('base64'),
        },
      });
      request.on('error', reject);
      request.on('response', (response: IncomingMessage) => {
        response.destroy();
        reject(new Error(`no WebSocket: status ${response.statusCode}`));
      });
      request.on('upgrade', (_response, socket: Socket, head: Buffer) => {
        socket.on('error', () => socket.destroy());
        socket.once('close', onEnd);
        signal.addEventListener('abort', () => socket.destroy(), { once: true });
        resolve(new WebSocketClient(socket, head, onMessage));
      });
    });
  }

  /** `text`: at most 125 bytes, which is long enough for a command. */
  send(text: string): void {
    const payload = Buffer.from(text);
    if (payload.length > MAX_SHORT) throw new RangeError('the message is too long');
    const mask = randomBytes(4);
    const masked = payload.map((byte, at) => byte ^ mask[at % 4]!);
    this.#socket.write(Buffer.concat([Buffer.from([0x80 | TEXT, 0x80 | payload.length]), mask, masked]));
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length > MAX_MESSAGE_BYTES) return this.close();
    let bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    for (let frame = frameOf(bytes); frame !== null; frame = frameOf(bytes)) {
      bytes = bytes.subarray(frame.end);
      if (frame.kind === CLOSE) return this.close();
      if (frame.kind === TEXT) this.#onMessage(frame.text);
    }
    this.#chunks = [bytes];
    this.#length = bytes.length;
  }
}

/** The first frame of a server, which are not masked; null: it is not all there yet. */
function frameOf(bytes: Buffer): { kind: number; text: string; end: number } | null {
  if (bytes.length < 2) return null;
  const short = bytes[1]! & 0x7f;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return null;
  const length = start === 2 ? short : start === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const end = start + length;
  if (bytes.length < end) return null;
  return { kind: bytes[0]! & 0x0f, text: bytes.toString('utf8', start, end), end };
}
