/** Exits as events of the event loop: one epoll instance for all of them, no thread, no SIGCHLD. */
import type { NativePoller } from '../engine/binding';
import { check, checkValue, isErrno } from '../system-error';
import { addon } from './addon';
import { type Child, liveChild } from './child';
import { type WaitResult, waitpid } from './wait';

/** The result of a child of this module's; undefined for any other process, whose status only its parent gets. */
export type ExitCallback = (result: WaitResult | undefined) => void;

class Watch {
  /** −1: the kernel has no pidfds, SIGCHLD tells */
  readonly pidfd: number;
  /** undefined: not a child of this module's, so not ours to reap */
  readonly child: Child | undefined;
  readonly #ownsPidfd: boolean;
  readonly #callback: ExitCallback;
  readonly #forget: (() => void) | undefined;
  #cancelled = false;

  constructor(id: number, pid: number, child: Child | undefined, pidfd: number, callback: ExitCallback) {
    this.child = child;
    this.#callback = callback;
    this.#ownsPidfd = pidfd >= 0 && pidfd !== child?.pidfd;
    this.pidfd = pidfd;
    if (pidfd >= 0) {
      const added = sharedPoller().add(pidfd, id);
      if (added < 0 && this.#ownsPidfd) addon().close(pidfd);
      check(added, 'epoll_ctl', { pid });
    }
    if (child !== undefined && pidfd === child.pidfd) polled.add(child);
    // Whoever reaps it, this module's waitpid and wait3 included.
    this.#forget = child?.onReaped((result) => finish(id, result));
  }

  /** Calls back: at once from the event loop, but never in the middle of a wait of the user's own. */
  end(result: WaitResult | undefined): void {
    if (this.child === collected) this.#call(result);
    else process.nextTick(() => this.#call(result));
  }

  #call(result: WaitResult | undefined): void {
    if (this.#cancelled) return;
    try {
      this.#callback(result);
    } catch (error) {
      // Uncaught, as from any event, once the others of this turn have been called.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  cancel(): void {
    this.#cancelled = true;
  }

  release(): void {
    this.#forget?.();
    if (this.pidfd < 0) return;
    poller?.remove(this.pidfd);
    if (this.#ownsPidfd) addon().close(this.pidfd);
    else if (this.child !== undefined) polled.delete(this.child);
  }
}

/** Children whose own pidfd is in the poller. epoll knows a descriptor once, so a second watch brings another. */
const polled = new Set<Child>();

const watches = new Map<number, Watch>();
let nextId = 0;
let poller: NativePoller | undefined;
/** The child that the event loop has reported, whose callbacks may run now; null: none, undefined: any other process. */
let collected: Child | undefined | null = null;

/**
 * Calls back once when a process has ended. A child of this module's is reaped first; if `waitpid` or `wait3` reap it, the watch
 * gets the same result. The watch keeps the event loop alive until then.
 *
 * @param target a child, or the pid of any process
 * @param callback called from the event loop, never before `watchExit` returns
 * @returns ends the watch without a call; harmless afterwards
 * @throws SystemError `EMFILE`, `ENFILE`: no descriptor for a pidfd; `EINVAL` for a pid that is not > 0
 * @platform Linux 5.3; elsewhere children of this module's only, by SIGCHLD (macOS untested): others are `ENOSYS`
 * @see pidfd_open(2), epoll(7)
 */
export function watchExit(target: Child | number, callback: ExitCallback): () => void {
  const child = typeof target === 'number' ? liveChild(target) : target;
  const pid = typeof target === 'number' ? target : target.pid;
  const pidfd = child?.reaped ? -1 : pidfdToWatch(pid, child);
  if (child?.reaped || isErrno(pidfd, 'ESRCH')) return callSoon(callback);
  const hasNoPidfd = child !== undefined && isErrno(pidfd, 'ENOSYS');
  if (!hasNoPidfd) check(pidfd, 'pidfd_open', { pid });

  const id = nextId++;
  const watch = new Watch(id, pid, child, hasNoPidfd ? -1 : pidfd, callback);
  watches.set(id, watch);
  sharedPoller().ref();
  if (hasNoPidfd) expectSigchld(id);
  return () => {
    watch.cancel();
    if (watches.delete(id)) drop(watch);
  };
}

function pidfdToWatch(pid: number, child: Child | undefined): number {
  const usable = child !== undefined && child.pidfd >= 0 && !polled.has(child);
  return usable ? child.pidfd : addon().pidfdOpen(pid);
}

/** It is gone already: nothing to watch. */
function callSoon(callback: ExitCallback): () => void {
  const immediate = setImmediate(callback, undefined);
  return () => clearImmediate(immediate);
}

function sharedPoller(): NativePoller {
  poller ??= checkValue<NativePoller>(
    addon().createPoller((ids) => {
      for (const id of ids) collect(id);
    }),
    'epoll_create1',
  );
  return poller;
}

/** The process of a watch has probably ended. */
function collect(id: number): void {
  const watch = watches.get(id);
  if (watch === undefined) return;
  collected = watch.child;
  if (watch.child === undefined) finish(id, undefined);
  // Reaping it calls finish(), for every watch on it.
  else waitpid(watch.child, { noHang: true });
  collected = null;
}

function finish(id: number, result: WaitResult | undefined): void {
  const watch = watches.get(id);
  if (watch === undefined) return;
  watches.delete(id);
  // First the callback, then the tidying up: the one may be waited for.
  watch.end(result);
  drop(watch);
}

/** Gives back what a watch that is no longer in `watches` held. */
function drop(watch: Watch): void {
  watch.release();
  if (watches.size > 0) return;
  // Nothing is watched: the loop may end, and SIGCHLD is as it was.
  poller?.unref();
  process.off('SIGCHLD', collectWithoutPidfd);
}

function expectSigchld(id: number): void {
  if (!process.listeners('SIGCHLD').includes(collectWithoutPidfd)) process.on('SIGCHLD', collectWithoutPidfd);
  // It may have ended before the handler stood.
  setImmediate(collect, id);
}

function collectWithoutPidfd(): void {
  for (const [id, watch] of [...watches]) if (watch.pidfd < 0) collect(id);
}

/** @internal In a forked process: it does not wait for what its parent waits for. */
export function forgetWatches(): void {
  for (const [id, watch] of [...watches]) {
    watches.delete(id);
    watch.cancel();
    drop(watch);
  }
}
