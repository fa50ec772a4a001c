/**
 * `process.send()` and `process.on('message')` as the program knows them from child_process.fork() and pm2, on both engines:
 * 'ready' means ready, everything else is passed on as the program's own.
 */
import type { Channel } from './channel';
import { emitToProgram } from './processEvents';

/** Kept for a listener that is added later, as Node does. */
const MAX_HELD = 1000;

export class ProgramIpc {
  readonly #channel: Channel;
  readonly #ready: () => boolean;
  /** our own listeners of 'message' */
  readonly #ownListeners: number;
  readonly #held: unknown[] = [];

  /** `ready`: what `process.send('ready')` does. */
  constructor(channel: Channel, engine: 'native' | 'js', ready: () => boolean) {
    this.#channel = channel;
    this.#ready = ready;
    this.#ownListeners = engine === 'js' ? 1 : 0;
    process.send = (message: unknown, ...rest: unknown[]) => this.#send(message, rest);
    if (engine === 'native') {
      Object.defineProperty(process, 'connected', {
        value: true,
        writable: true,
        configurable: true,
        enumerable: true,
      });
      this.#countListeners();
    }
    process.on('newListener', (event) => {
      if (event === 'message' && this.#held.length > 0) process.nextTick(() => this.#deliverHeld());
    });
  }

  /** A message of the manager's for the program. */
  deliver(data: unknown): void {
    if (process.listenerCount('message') > this.#ownListeners) emitToProgram('message', data, undefined);
    else if (this.#held.length < MAX_HELD) this.#held.push(data);
  }

  #deliverHeld(): void {
    if (process.listenerCount('message') <= this.#ownListeners) return;
    for (const data of this.#held.splice(0)) emitToProgram('message', data, undefined);
  }

  #send(message: unknown, rest: unknown[]): boolean {
    if (message === undefined) throw new TypeError('The "message" argument must be specified');
    if (typeof rest[0] === 'object' && rest[0] !== null) {
      throw new TypeError('process.send() cannot pass a handle to the manager of prefork');
    }
    const sent = message === 'ready' ? this.#ready() : this.#channel.send({ type: 'user', data: message });
    const callback = rest.findLast((arg) => typeof arg === 'function') as
      | ((error: Error | null) => void)
      | undefined;
    const error = sent ? null : new Error('the message is longer than 64 KiB, or the manager is gone');
    if (callback !== undefined) process.nextTick(callback, error);
    return sent;
  }

  /** A program that waits for messages stays alive for them, as with child_process. */
  #countListeners(): void {
    const update = (change: number) => (event: string | symbol) => {
      if (event !== 'message') return;
      // newListener comes before the listener is added.
      this.#channel.setRef(process.listenerCount('message') + change > 0);
    };
    process.on('newListener', update(1));
    process.on('removeListener', update(0));
  }
}
