/** The HTTP side of `--metrics`: who may ask, how much and how slowly. It runs in the manager, and so it does as little as can be. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Answer, plain, send } from './answer';
import { type Door, isDoorPath } from './door';

/** Connections at a time; a further one is closed when it comes. */
export const MAX_CONNECTIONS = 32;
/** Of a request's line and headers. */
export const MAX_HEADER_BYTES = 4096;
/** To come out with a request, to take the answer, and to stay without either. */
const TIMEOUT_MS = 5_000;

/** What is at a path; undefined: nothing. */
export type Route = (path: string) => Promise<Answer> | Answer | undefined;

export interface Routes {
  readonly route: Route;
  /** takes over the answer to `/events`; false: it does not */
  events(response: ServerResponse): boolean;
  /** null: nothing can be changed here */
  readonly door: Door | null;
}

export function createMetricsServer(routes: Routes): Server {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: TIMEOUT_MS,
      requestTimeout: TIMEOUT_MS,
      keepAliveTimeout: TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void answer(request, response, routes),
  );
  server.maxConnections = MAX_CONNECTIONS;
  // One that does not read its answer is idle, too.
  server.setTimeout(TIMEOUT_MS, (socket) => socket.destroy());
  return server;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { route, events, door }: Routes,
): Promise<void> {
  const { method, url = '/' } = request;
  const [path, query = ''] = url.split('?', 2) as [string, string?];
  response.on('error', () => response.destroy());
  if (door !== null && isDoorPath(path)) return door.answer(path, query, request, response);
  if (method !== 'GET' && method !== 'HEAD') {
    // A body is not waited for.
    const headers = { allow: 'GET, HEAD', connection: 'close' };
    return send(response, { ...plain(405, 'only GET and HEAD\n'), headers });
  }
  if (path === '/events' && method === 'GET') {
    if (!events(response)) send(response, plain(503, 'too many pages are open\n'));
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
