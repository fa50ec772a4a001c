/**
 * HTTP/1 while a server drains: the answer to the last request that has come says `Connection: close`, and the connection is
 * closed so that nothing written is lost. A close() with unread bytes makes the kernel send a reset, which can take the answer
 * away from the client; so the write side is ended, what still comes is read and dropped, and the rest follows the client.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { type Connection, connectionOf, isLastRequest } from './connections';

type Headers = OutgoingHttpHeaders | readonly unknown[];
type WriteHead = (this: ServerResponse, ...args: unknown[]) => ServerResponse;

/** Lets `isDraining` decide for each response; once for the process, when its first HTTP server listens. */
export function patchResponses(isDraining: (server: Server) => boolean): void {
  const { prototype } = (require('node:http') as typeof import('node:http')).ServerResponse;
  const original = prototype.writeHead as WriteHead;
  prototype.writeHead = function writeHead(this: ServerResponse, ...args: unknown[]) {
    const connection = connectionOf(this.req?.socket);
    if (connection !== undefined && isDraining(connection.server)) {
      if (args[0] !== 101 && isLastRequest(this, connection)) announceClose(this, connection, args);
    }
    return original.apply(this, args);
  } as ServerResponse['writeHead'];
}

/** `args` of writeHead() are changed in place. */
function announceClose(response: ServerResponse, connection: Connection, args: unknown[]): void {
  const last = args.length - 1;
  const headers = args[last];
  if (last > 0 && typeof headers === 'object' && headers !== null) args[last] = withClose(headers as Headers);
  else if (!response.headersSent) response.setHeader('Connection', 'close');
  // Node calls this when the last response of a connection is out.
  connection.socket.destroySoon = () => closeGently(connection, response.req);
}

/** Headers given to writeHead(): an object, pairs, or names and values in turn. */
function withClose(headers: Headers): Headers {
  const isConnection = (name: unknown) => String(name).toLowerCase() === 'connection';
  if (!Array.isArray(headers)) {
    const kept = Object.entries(headers).filter(([name]) => !isConnection(name));
    return { ...Object.fromEntries(kept), Connection: 'close' };
  }
  if (Array.isArray(headers[0])) {
    return [...headers.filter(([name]) => !isConnection(name)), ['Connection', 'close']];
  }
  const kept = headers.filter((_, i) => !isConnection(headers[i - (i % 2)]));
  return [...kept, 'Connection', 'close'];
}

/** Ends the write side, then reads until the client has ended its own. `request`: still being received, perhaps. */
export function closeGently(connection: Connection, request: IncomingMessage | null): void {
  if (connection.closing) return;
  connection.closing = true;
  connection.quietSince = performance.now();
  const { socket } = connection;
  socket.setTimeout(0);
  // It is destroyed by itself when both sides have ended.
  socket.end();
  if (socket.readableEnded) return;
  const drop = () => {
    // A listener of 'data' takes the socket from the HTTP parser: what comes now is no request any more.
    socket.removeAllListeners('data');
    socket.removeAllListeners('end');
    socket.on('data', () => {});
    socket.resume();
  };
  if (request === null || request.complete || request.destroyed) {
    drop();
    return;
  }
  let dropped = false;
  const dropOnce = () => {
    if (!dropped && !socket.destroyed) drop();
    dropped = true;
  };
  request.once('end', dropOnce);
  request.once('close', dropOnce);
}

/** The sockets on which no part of a request has come since the last answer; null where this Node does not tell. */
export function idleSockets(server: Server): Set<unknown> | null {
  const symbol = Object.getOwnPropertySymbols(server).find(
    (s) => s.description === 'http.server.connections',
  );
  const list =
    symbol && (server as unknown as Record<symbol, { idle?(): { socket: unknown }[] } | undefined>)[symbol];
  return list?.idle === undefined ? null : new Set(list.idle().map(({ socket }) => socket));
}

/** Whether it speaks HTTP/1 (still: an upgraded one does not). */
export function speaksHttp(connection: Connection): boolean {
  return Boolean((connection.socket as { parser?: unknown }).parser);
}
