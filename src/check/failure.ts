/** What can become of a request other than its answer. */

/** Every kind of failure, in words. */
export const failureKinds = {
  refused: 'no connection could be made',
  reset: 'the connection was reset before an answer',
  closed: 'the connection was closed before an answer',
  short: 'the answer was cut off',
  status: 'the answer has a status that is not expected',
  excess: 'there were bytes that nobody had asked for',
  malformed: 'the answer is not HTTP',
  timeout: 'there was no whole answer in time',
  tls: 'the TLS handshake failed',
  'stream-refused': 'the HTTP/2 stream was refused, and refused again',
  local: 'this machine had no port or descriptor left for a connection',
} as const;

export type FailureKind = keyof typeof failureKinds;

export interface Failure {
  readonly kind: FailureKind;
  readonly detail: string;
  /** how many answers the connection had given before */
  readonly answersBefore: number;
  /** X-Pid of the last of them, where the server says it: the worker that the connection was with */
  readonly worker: number | null;
}

/** Thrown within the client; what a loop makes a {@link Failure} of. */
export class Failed extends Error {
  constructor(
    readonly kind: FailureKind,
    detail: string,
  ) {
    super(detail);
  }
}

/** What went wrong on a socket, as users see it: `ECONNRESET`, or the message where there is no code. */
export function socketTrouble(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message;
}
