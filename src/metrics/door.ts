/** Control over the address of `--metrics`, for whoever has the token: requests of the control socket as HTTP ones. */
import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ControlErrorCode, MAX_SCALE, type Question } from '../control/protocol';
import type { Handler, Reply } from '../control/server';
import { nowMs } from '../engine/clock';
import type { Log } from '../manager/log';
import { digestOf } from '../options/control-token';
import { send } from './answer';

/** Wrong tokens in a minute; after them everybody is refused for the rest of it. */
export const MAX_WRONG = 5;
const MINUTE_MS = 60_000;
/** Requests that are not answered yet, also of clients that have gone. */
export const MAX_PENDING = 8;

/** What is no answer of the control socket's. */
type DoorErrorCode =
  /** there is no token, or a wrong one */
  | 'TOKEN'
  /** a page of another host asks */
  | 'ORIGIN'
  /** there were too many wrong tokens */
  | 'ATTEMPTS';

type ErrorCode = ControlErrorCode | DoorErrorCode;

const PATHS = ['/reload', '/scale', '/stop'] as const;
type DoorPath = (typeof PATHS)[number];
export const isDoorPath = (path: string): path is DoorPath => (PATHS as readonly string[]).includes(path);

const STATUS: Readonly<Record<ErrorCode, number>> = {
  PROTOCOL: 400,
  TOKEN: 401,
  ORIGIN: 403,
  ROLLOUT: 409,
  ATTEMPTS: 429,
  BUSY: 503,
  STOPPING: 503,
};

interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export class Door {
  readonly #digest: Buffer;
  readonly #log: Log;
  readonly #handle: Handler;
  readonly #attempts = new Attempts(nowMs);
  #pending = 0;

  /** `digest`: of the token, in hexadecimal. */
  constructor(digest: string, log: Log, handle: Handler) {
    this.#digest = Buffer.from(digest, 'hex');
    this.#log = log;
    this.#handle = handle;
  }

  answer(path: DoorPath, query: string, request: IncomingMessage, response: ServerResponse): void {
    const { remoteAddress: from = 'a Unix socket' } = request.socket;
    const refusal = this.#refusal(request, from);
    if (refusal !== null) return refuse(response, refusal);
    const question = questionOf(path, query);
    if (question === null) {
      const message = `say how many, as /scale?workers=8, from 1 to ${MAX_SCALE}`;
      return refuse(response, { code: 'PROTOCOL', message });
    }
    if (this.#pending >= MAX_PENDING) {
      return refuse(response, { code: 'BUSY', message: `${MAX_PENDING} requests are not answered yet` });
    }
    this.#log.info({ event: 'control-http', do: question.do, from }, `${path.slice(1)} asked for by ${from}`);
    this.#pending++;
    // A rollout takes as long as it takes. Once it is answered the connection is closed.
    request.socket.setTimeout(0);
    this.#handle({ ...question, id: 0 }, this.#replyTo(response));
  }

  #refusal(request: IncomingMessage, from: string): Refusal | null {
    const { method, headers } = request;
    if (method !== 'POST') {
      return { code: 'PROTOCOL', message: 'only POST', status: 405, headers: { allow: 'POST' } };
    }
    if (!isSameHost(headers.origin, headers.host)) {
      return { code: 'ORIGIN', message: 'a page of another host may not ask' };
    }
    const waitMs = this.#attempts.waitMs();
    if (waitMs > 0) {
      const retryAfter = String(Math.ceil(waitMs / 1000));
      const message = `too many wrong tokens; again in ${retryAfter} s`;
      return { code: 'ATTEMPTS', message, headers: { 'retry-after': retryAfter } };
    }
    const { authorization } = headers;
    if (authorization === undefined || !this.#isToken(authorization)) {
      // To come without one is no attempt.
      if (authorization !== undefined) this.#wrong(from);
      const message = authorization === undefined ? 'it takes a token' : 'wrong token';
      return { code: 'TOKEN', message, headers: { 'www-authenticate': 'Bearer' } };
    }
    if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0) {
      return { code: 'PROTOCOL', message: 'a request has no body', status: 413 };
    }
    return null;
  }

  #isToken(authorization: string): boolean {
    const [, token] = /^bearer +(\S+)$/i.exec(authorization) ?? [];
    // Of equal length, whatever was sent.
    return timingSafeEqual(digestOf(token ?? ''), this.#digest) && token !== undefined;
  }

  #wrong(from: string): void {
    this.#attempts.count();
    this.#log.warn({ event: 'control-refused', from }, `wrong control token from ${from}`);
  }

  #replyTo(response: ServerResponse): Reply {
    const answered = (): void => {
      this.#pending--;
    };
    return {
      progress() {},
      succeed(result) {
        answered();
        tell(response, 200, { ok: true, result });
      },
      fail(code, message) {
        answered();
        refuse(response, { code, message });
      },
      detach: () => null,
    };
  }
}

/** Wrong tokens: a minute begins with the first. */
export class Attempts {
  readonly #now: () => number;
  #count = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(now: () => number) {
    this.#now = now;
  }

  count(): void {
    const now = this.#now();
    if (now >= this.#untilMs) {
      this.#count = 0;
      this.#untilMs = now + MINUTE_MS;
    }
    this.#count++;
  }

  /** For how long nobody is heard; 0: everybody is. */
  waitMs(): number {
    return this.#count < MAX_WRONG ? 0 : Math.max(0, this.#untilMs - this.#now());
  }
}

/** Whether a page of this address asks, or no page. */
export function isSameHost(origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined) return true;
  try {
    const page = new URL(origin);
    // With its scheme: `a:80` and `a` are one host in http.
    return page.host !== '' && page.host === new URL(`${page.protocol}//${host}`).host;
  } catch {
    return false;
  }
}

function questionOf(path: DoorPath, query: string): Question | null {
  switch (path) {
    case '/reload':
      return { do: 'reload' };
    case '/stop':
      return { do: 'stop', graceful: true };
    case '/scale': {
      const text = new URLSearchParams(query).get('workers') ?? '';
      const workers = /^\d{1,9}$/.test(text) ? Number(text) : 0;
      return workers >= 1 && workers <= MAX_SCALE ? { do: 'scale', workers } : null;
    }
  }
}

function refuse(response: ServerResponse, { code, message, status, headers }: Refusal): void {
  tell(response, status ?? STATUS[code], { ok: false, error: { code, message } }, headers);
}

/** The last on its connection. */
function tell(
  response: ServerResponse,
  status: number,
  answer: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = `${JSON.stringify(answer)}\n`;
  send(response, { status, type: 'application/json', body, headers: { connection: 'close', ...headers } });
}
