/** What a program registers to be run around a fork. All copies of this package in a process share one registry. */

/** May return a promise: the forkserver waits for it, `fork()` of prefork/posix does not. */
export type ForkCallback = () => unknown;

interface Registry {
  readonly before: ForkCallback[];
  readonly after: ForkCallback[];
  /** set by the forkserver: the program calls for the fork here; resolves in every worker */
  forkPoint?: () => Promise<void>;
}

const KEY = Symbol.for('prefork.fork.1');

function registry(): Registry {
  const holder = globalThis as { [KEY]?: Registry };
  if (holder[KEY] === undefined) {
    Object.defineProperty(holder, KEY, { value: { before: [], after: [] } satisfies Registry });
  }
  return holder[KEY] as Registry;
}

/**
 * Calls back before this process is forked, to close what must not be shared: connections, files, threads. Once in a
 * forkserver, however many workers it forks. Not called in a process that is never forked.
 */
export function beforeFork(callback: ForkCallback): void {
  registry().before.push(callback);
}

/**
 * Calls back in every forked process, to open anew what {@link beforeFork} closed; a worker listens once what it returns is
 * settled. Not called in a process that was started in the usual way.
 */
export function afterFork(callback: ForkCallback): void {
  registry().after.push(callback);
}

/**
 * With `--preload`, workers are forked here rather than at the first `listen()`; resolves in each of them. Resolves at once in
 * any other process, and once the fork point has passed.
 */
export function forkPoint(): Promise<void> {
  return registry().forkPoint?.() ?? Promise.resolve();
}

/** @internal For the forkserver; undefined takes it away. */
export function onForkPoint(handler: (() => Promise<void>) | undefined): void {
  if (handler === undefined) delete registry().forkPoint;
  else registry().forkPoint = handler;
}

/** @internal In order of registration, reversed: what was opened last is closed first. */
export async function runBeforeFork(): Promise<void> {
  for (const callback of [...registry().before].reverse()) await callback();
}

/** @internal */
export async function runAfterFork(): Promise<void> {
  for (const callback of [...registry().after]) await callback();
}

/** @internal Without waiting: an error of a promise goes where unhandled ones go. */
export function startForkCallbacks(which: 'before' | 'after'): void {
  const callbacks = [...registry()[which]];
  if (which === 'before') callbacks.reverse();
  for (const callback of callbacks) callback();
}

/** @internal */
export function hasForkCallbacks(which: 'before' | 'after'): boolean {
  return registry()[which].length > 0;
}
