/** HTTP/2 over one connection, one stream after the other. */
import * as http2 from 'node:http2';
import type { Socket } from 'node:net';
import { Failed } from './failure';

export interface Http2Request {
  readonly path: string;
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  readonly expects: (status: number) => boolean;
  readonly timeoutMs?: number | undefined;
}

export class Http2Connection {
  answers = 0;
  worker: number | null = null;
  /** the server has said that it goes away, or has gone */
  leaving = false;
  readonly #session: http2.ClientHttp2Session;

  constructor(socket: Socket) {
    this.#session = http2.connect('http://localhost', { createConnection: () => socket });
    const leave = (): void => {
      this.leaving = true;
    };
    this.#session.on('error', leave).on('goaway', leave).on('close', leave);
  }

  /** `again`: the server says, or the protocol, that the request was not processed. Rejects with {@link Failed}. */
  request(request: Http2Request): Promise<'answered' | 'again'> {
    return new Promise((resolve, reject) => {
      let stream: http2.ClientHttp2Stream;
      try {
        stream = this.#session.request({
          ':path': request.path,
          ':authority': request.authority,
          ':scheme': request.scheme,
        });
      } catch {
        // It could not even be sent.
        resolve('again');
        return;
      }
      this.#watch(stream, request, resolve, reject);
      stream.end();
    });
  }

  /** Says goodbye, and ends when the streams have. */
  close(): void {
    this.#session.close();
  }

  /** For a server that may not answer any more. */
  abandon(): void {
    this.#session.destroy();
  }

  #watch(
    stream: http2.ClientHttp2Stream,
    { expects, timeoutMs }: Http2Request,
    resolve: (outcome: 'answered' | 'again') => void,
    reject: (error: Failed) => void,
  ): void {
    let headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
    let received = 0;
    let failed: Failed | undefined;
    const late = (): void => {
      failed ??= new Failed('timeout', `no whole answer within ${timeoutMs} ms`);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      reject(failed);
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
    stream.on('response', (found) => {
      headers = found;
    });
    stream.on('data', (data: Buffer) => {
      received += data.length;
    });
    const status = (): number => headers[':status'] ?? 0;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      failed ??= new Failed(status() === 0 ? 'reset' : 'short', `${error.code} ${error.message}`);
    });
    stream.on('aborted', () => {
      failed ??= new Failed(status() === 0 ? 'closed' : 'short', `stream ${stream.id} was aborted`);
    });
    stream.on('close', () => {
      clearTimeout(timer);
      const expected = headers['content-length'];
      // Never got an id, or refused, as streams above the last id of a GOAWAY are: not processed.
      if (stream.id === undefined || stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM)
        resolve('again');
      else if (failed !== undefined) reject(failed);
      else if (status() === 0) reject(new Failed('closed', `stream ${stream.id} ended without an answer`));
      else if (expected !== undefined && received !== Number(expected))
        reject(new Failed('short', `${received} of ${expected} bytes`));
      else if (!expects(status())) reject(new Failed('status', `status ${status()}`));
      else {
        this.answers++;
        const pid = headers['x-pid'];
        if (typeof pid === 'string') this.worker = Number(pid);
        resolve('answered');
      }
    });
  }
}
