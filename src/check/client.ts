/**
 * A client that forgives nothing: every request must be answered with an expected status and its whole body. A connection refused,
 * reset or closed under a request counts as a failure, also on a kept-alive connection: the server may end one only after
 * it said so. Only what HTTP/2 itself calls safe to send again (a stream refused, or above the last id of a GOAWAY) is
 * sent again, once.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Target } from './connect';
import { Failed, type Failure, type FailureKind } from './failure';
import { Http1Connection } from './http1';
import { Http2Connection } from './http2';

export type { Failure, FailureKind } from './failure';

export interface StrictClientOptions extends Target {
  /** connections that send one request after the other (http2: sessions with one stream after the other) */
  readonly keepAlive: number;
  /** loops that open a connection for every request */
  readonly oneShot: number;
  readonly path?: string;
  /** what the Host header says */
  readonly authority?: string;
  /** mean pause between requests of one connection, to leave it idle at times; ms */
  readonly thinkMs?: number;
  /** file of the certificate to trust */
  readonly caFile?: string;
  /** default: 200 alone */
  readonly expects?: (status: number) => boolean;
}

export interface StrictReport {
  /** answered as expected */
  requests: number;
  connections: number;
  /** HTTP/2 streams sent again */
  retried: number;
  /** longest time from sending a request, or beginning to connect for it, to the end of its answer; ms */
  slowestMs: number;
  /** the first {@link MAX_KEPT}; `failed` counts them all */
  failures: Failure[];
  failed: number;
}

/** Failures that are kept: a server that is gone makes thousands. */
export const MAX_KEPT = 10_000;
/** After a failure: a server that is gone would be asked as fast as the loop turns. */
const AFTER_FAILURE_MS = 20;

export class StrictClient {
  readonly #options: StrictClientOptions;
  readonly #target: Target;
  readonly #onFailure: (failure: Failure) => void;
  readonly #report: StrictReport = {
    requests: 0,
    connections: 0,
    retried: 0,
    slowestMs: 0,
    failures: [],
    failed: 0,
  };
  readonly #loops: Promise<void>[] = [];
  readonly #waiting: { isDue: () => boolean; resolve(): void }[] = [];
  #stopping = false;

  constructor(options: StrictClientOptions, onFailure: (failure: Failure) => void = () => {}) {
    this.#options = options;
    const { caFile } = options;
    this.#target = { ...options, ...(caFile !== undefined && { ca: readFileSync(caFile) }) };
    this.#onFailure = onFailure;
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
    const until = this.#report.requests + requests;
    return this.#when(() => this.#report.requests >= until);
  }

  /** Resolves when so many further requests have been answered or have failed. */
  settled(requests: number): Promise<void> {
    const until = this.#settledRequests + requests;
    return this.#when(() => this.#settledRequests >= until);
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

  get #settledRequests(): number {
    return this.#report.requests + this.#report.failed;
  }

  #when(isDue: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ isDue, resolve });
      this.#tell();
    });
  }

  #tell(): void {
    for (const waiting of [...this.#waiting]) {
      if (!waiting.isDue()) continue;
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.resolve();
    }
  }

  #count(begunMs: number): void {
    this.#report.requests++;
    this.#report.slowestMs = Math.max(this.#report.slowestMs, performance.now() - begunMs);
    if (this.#waiting.length > 0) this.#tell();
  }

  async #fail(error: unknown, connection: Http1Connection | Http2Connection | undefined): Promise<void> {
    const kind: FailureKind = error instanceof Failed ? error.kind : 'reset';
    const detail = error instanceof Error ? error.message : String(error);
    const failure = {
      kind,
      detail,
      answersBefore: connection?.answers ?? 0,
      worker: connection?.worker ?? null,
    };
    this.#report.failed++;
    if (this.#report.failures.length < MAX_KEPT) this.#report.failures.push(failure);
    this.#onFailure(failure);
    this.#tell();
    await pause(AFTER_FAILURE_MS);
  }

  async #think(): Promise<void> {
    if (this.#options.thinkMs) await pause(this.#options.thinkMs * 2 * Math.random());
  }

  get #request() {
    const { path = '/', authority = 'localhost', expects = isOk, timeoutMs } = this.#options;
    return { path, authority, expects, timeoutMs };
  }

  async #loopHttp1(keepAlive: boolean): Promise<void> {
    const request = { ...this.#request, keepAlive };
    let connection: Http1Connection | undefined;
    while (!this.#stopping) {
      const begunMs = performance.now();
      try {
        if (connection === undefined) {
          this.#report.connections++;
          connection = new Http1Connection(await connect(this.#target));
        }
        const mayStay = await connection.request(request);
        this.#count(begunMs);
        if (!mayStay || !keepAlive) {
          connection.close();
          connection = undefined;
        }
        await this.#think();
      } catch (error) {
        connection?.close();
        const failed = connection;
        connection = undefined;
        await this.#fail(error, failed);
      }
    }
    connection?.close();
  }

  async #loopHttp2(keepAlive: boolean): Promise<void> {
    const scheme = this.#options.protocol === 'http2' ? 'https' : 'http';
    const request = { ...this.#request, scheme } as const;
    let session: Http2Connection | undefined;
    while (!this.#stopping) {
      const begunMs = performance.now();
      try {
        for (let attempt = 0; ; attempt++) {
          if (session === undefined || session.leaving) {
            session?.close();
            session = undefined;
            this.#report.connections++;
            session = new Http2Connection(await connect(this.#target));
          }
          if ((await session.request(request)) === 'answered') break;
          if (attempt > 0) throw new Failed('stream-refused', 'refused twice');
          this.#report.retried++;
          session.leaving = true;
        }
        this.#count(begunMs);
        if (!keepAlive) {
          session.close();
          session = undefined;
        }
        await this.#think();
      } catch (error) {
        session?.abandon();
        const failed = session;
        session = undefined;
        await this.#fail(error, failed);
      }
    }
    session?.close();
  }
}

function isOk(status: number): boolean {
  return status === 200;
}
