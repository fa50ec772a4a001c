/**
 * HTTP/2 while a server drains: GOAWAY with the highest id (the client stops opening streams, those on their way are still
 * served), a ping's round trip, then GOAWAY with the last id, and the session ends with its last stream.
 *
 * A session without streams waits for its next one, or lingers out like an idle HTTP/1 connection: nghttp2 stops reading from
 * a session that has sent GOAWAY and has no streams, so that a first GOAWAY there would lose what is on its way.
 */
import type { Connection } from './connections';

const HIGHEST_STREAM_ID = 2 ** 31 - 1;
const PING_MS = 1000;

/** The session has a stream. */
export function goAwayTwice(connection: Connection): void {
  const { session } = connection;
  if (session === undefined || session.goingAway || session.http2.closed) return;
  session.goingAway = true;
  session.http2.goaway(0, HIGHEST_STREAM_ID);
  const timer = setTimeout(() => closeSession(connection), PING_MS);
  session.http2.ping(() => {
    clearTimeout(timer);
    closeSession(connection);
  });
}

/** GOAWAY with the last id; open streams may finish. */
export function closeSession(connection: Connection): void {
  const http2 = connection.session?.http2;
  if (http2 === undefined || http2.closed || http2.destroyed) return;
  connection.closing = true;
  connection.quietSince = performance.now();
  http2.close();
}
