/**
 * Sees events of `process` before the program's listeners do, without being one of them: what the manager sends is not for
 * `process.on('message')`, and a signal is ours only where the program has no handler.
 */

/** true: handled, the program's listeners are not called */
export type Interceptor = (...args: unknown[]) => boolean;

type Emit = (event: string | symbol, ...args: unknown[]) => boolean;

const interceptors = new Map<string | symbol, Interceptor>();
let original: Emit | undefined;

/** Calls `interceptor` first whenever `event` is emitted. One for each event. */
export function intercept(event: string, interceptor: Interceptor): void {
  interceptors.set(event, interceptor);
  if (original !== undefined) return;
  const target = process as unknown as { emit: Emit };
  const emit = target.emit;
  original = emit;
  target.emit = function (this: unknown, name, ...args) {
    if (interceptors.get(name)?.(...args)) return true;
    return emit.call(process, name, ...args);
  };
}

/** Emits to the program's listeners, past the interceptors. */
export function emitToProgram(event: string, ...args: unknown[]): void {
  (original ?? (process.emit as Emit)).call(process, event, ...args);
}
