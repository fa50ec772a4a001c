/** Asks a manager over its control socket. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  type ControlError,
  MAX_RESPONSE_BYTES,
  PROTOCOL_VERSION,
  parseResponse,
  type Question,
  type Response,
  type Results,
} from './protocol';

/** A manager that lives answers in milliseconds; one that was stopped (SIGSTOP) or hangs never does. */
const ANSWER_TIMEOUT_MS = 5_000;

/** The manager said no. */
export class RefusedError extends Error {
  readonly code: ControlError['code'];

  constructor({ code, message }: ControlError) {
    super(message);
    this.code = code;
  }
}

/** The connection broke, or there was no answer in time. */
export class NoAnswerError extends Error {}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  progress?: (text: string) => void;
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  /** resolves when the connection has ended */
  readonly closed: Promise<void>;
  #nextId = 1;
  #line = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => this.#onData(text));
    socket.on('error', (error) => this.#fail(error.message));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#fail('the manager closed the connection');
        resolve();
      });
    });
  }

  /** Rejects with the system's error: ENOENT and ECONNREFUSED where no manager listens, EACCES where this user may not. */
  static async connect(path: string): Promise<ControlClient> {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return new ControlClient(socket);
  }

  /**
   * Sends a request and resolves to its result. Rejects with a {@link RefusedError} where the manager says no, and with
   * a {@link NoAnswerError} where it says nothing.
   *
   * @param progress called for each line that comes before the answer
   * @param timeoutMs null: waits as long as the connection lasts
   */
  ask<D extends Question['do']>(
    question: Extract<Question, { do: D }>,
    options: { progress?: (text: string) => void; timeoutMs?: number | null } = {},
  ): Promise<Results[D]> {
    const { timeoutMs = ANSWER_TIMEOUT_MS, progress } = options;
    const id = this.#nextId++;
    return new Promise<unknown>((resolve, reject) => {
      const timer =
        timeoutMs === null
          ? undefined
          : setTimeout(() => this.#fail(`no answer within ${timeoutMs / 1000} s`), timeoutMs);
      const done = <T>(settle: (value: T) => void): ((value: T) => void) => {
        return (value) => {
          clearTimeout(timer);
          settle(value);
        };
      };
      this.#waiting.set(id, {
        resolve: done(resolve),
        reject: done(reject),
        ...(progress && { progress }),
      });
      if (this.#socket.destroyed) this.#fail('the manager closed the connection');
      else this.#socket.write(`${JSON.stringify({ v: PROTOCOL_VERSION, id, ...question })}\n`);
    }) as Promise<Results[D]>;
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(text: string): void {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop()!;
    if (this.#line.length > MAX_RESPONSE_BYTES) return this.#fail('the answer is too long');
    for (const line of lines) {
      const response = parseResponse(line);
      if (response === null) return this.#fail('the answer is of another version of prefork');
      this.#onResponse(response);
    }
  }

  #onResponse(response: Response): void {
    if (response.id === null) {
      if ('error' in response) this.#failAll(new RefusedError(response.error));
      return;
    }
    const waiting = this.#waiting.get(response.id);
    if ('progress' in response) {
      waiting?.progress?.(response.progress);
      return;
    }
    this.#waiting.delete(response.id);
    if (response.ok) waiting?.resolve(response.result);
    else waiting?.reject(new RefusedError(response.error));
  }

  #fail(reason: string): void {
    this.#failAll(new NoAnswerError(reason));
  }

  #failAll(error: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
    this.#socket.destroy();
  }
}
