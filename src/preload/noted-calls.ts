/** Calls of listen() and bind() that are to be made in the workers only. */
import { AsyncResource } from 'node:async_hooks';
import { Socket } from 'node:dgram';
import { Server } from 'node:net';
import { replace } from './replace';

type Method = (this: object, ...args: unknown[]) => unknown;

interface NotedCall {
  readonly target: object;
  readonly method: 'listen' | 'bind';
  readonly args: unknown[];
  /** of the call: AsyncLocalStorage finds its store again */
  readonly context: AsyncResource;
}

export class NotedCalls {
  readonly #calls: NotedCall[] = [];
  readonly #onFirst: () => void;
  #noting = false;

  /** `onFirst` is called once, within the program's first call. */
  constructor(onFirst: () => void) {
    this.#onFirst = onFirst;
  }

  install(): void {
    this.#noting = true;
    const calls = this;
    const { listen } = Server.prototype as unknown as { listen: Method };
    const { bind } = Socket.prototype as unknown as { bind: Method };
    replace(Server.prototype, 'listen', function (this: unknown, ...args: unknown[]) {
      return calls.#note(this as object, 'listen', args) ? this : Reflect.apply(listen, this, args);
    });
    replace(Socket.prototype, 'bind', function (this: unknown, ...args: unknown[]) {
      return !isImplicit(args) && calls.#note(this as object, 'bind', args)
        ? this
        : Reflect.apply(bind, this, args);
    });
  }

  /** For people: `listen(3000)`. */
  describe(): string[] {
    return this.#calls.map(({ method, args }) => `${method}(${args.filter(isPlain).map(show).join(', ')})`);
  }

  /** Whatever the program calls from now on is done at once. */
  stop(): void {
    this.#noting = false;
  }

  /** Makes the calls, each in the context that it was made in. An error of one goes where the program would have got it: nowhere else. */
  replay(): void {
    this.stop();
    for (const { target, method, args, context } of this.#calls.splice(0)) {
      // By name: the worker's hook has put its own in place.
      const call = (target as Record<typeof method, Method>)[method];
      try {
        context.runInAsyncScope(call, target, ...args);
      } catch (error) {
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }

  #note(target: object, method: NotedCall['method'], args: unknown[]): boolean {
    if (!this.#noting) return false;
    this.#calls.push({ target, method, args, context: new AsyncResource('PREFORK_LISTEN') });
    if (this.#calls.length === 1) this.#onFirst();
    return true;
  }
}

/** The bind() that connect() and send() of a socket without an address call: a client's, which is not for the workers. */
function isImplicit([options, callback]: readonly unknown[]): boolean {
  if (typeof options !== 'object' || options === null || callback !== null) return false;
  const { port, exclusive } = options as { port?: unknown; exclusive?: unknown };
  return port === 0 && exclusive === true;
}

const isPlain = (arg: unknown): boolean => typeof arg !== 'function' && arg !== undefined;

function show(arg: unknown): string {
  if (typeof arg !== 'object' || arg === null) return JSON.stringify(arg);
  const { port, host, path, fd } = arg as Record<string, unknown>;
  return JSON.stringify({ port, host, path, fd });
}
