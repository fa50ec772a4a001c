/** The HTTP side of `--metrics`: who may ask, how much and how slowly. It runs in the manager, and so it does as little as can be. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** Connections at a time; a further one is closed when it comes. */
export const MAX_CONNECTIONS = 32;
/** Of a request's line and headers. */
export const MAX_HEADER_BYTES = 4096;
/** To come out with a request, to take the answer, and to stay without either. */
const TIMEOUT_MS = 5_000;

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What is at a path; undefined: nothing. */
export type Route = (path: string) => Promise<Answer> | Answer | undefined;

export const plain = (status: number, body: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body,
});

/** @param events takes over the answer to `/events`; false: it does not */
export function createMetricsServer(route: Route, events: (response: ServerResponse) => boolean): Server {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: TIMEOUT_MS,
      requestTimeout: TIMEOUT_MS,
      keepAliveTimeout: TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void answer(request, response, route, events),
  );
  server.maxConnections = MAX_CONNECTIONS;
  // One that does not read its answer is idle, too.
  server.setTimeout(TIMEOUT_MS, (socket) => socket.destroy());
  return server;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  route: Route,
  events: (response: ServerResponse) => boolean,
): Promise<void> {
  const { method, url = '/' } = request;
  response.on('error', () => response.destroy());
  if (method !== 'GET' && method !== 'HEAD') {
    // A body is not waited for.
    send(
      response,
      { ...plain(405, 'only GET and HEAD\n'), headers: { allow: 'GET, HEAD', connection: 'close' } },
      false,
    );
    return;
  }
  const path = url.split('?', 1)[0]!;
  if (path === '/events' && method === 'GET') {
    if (!events(response)) send(response, plain(503, 'too many pages are open\n'), false);
    return;
  }
  let result: Answer;
  try {
    result = (await route(path)) ?? plain(404, 'there is /, /metrics, /healthz and /readyz\n');
  } catch (error) {
    result = plain(500, `${(error as Error).message}\n`);
  }
  send(response, result, method === 'HEAD');
}

function send(response: ServerResponse, { status, type, body, headers }: Answer, withoutBody: boolean): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(withoutBody ? undefined : body);
}
