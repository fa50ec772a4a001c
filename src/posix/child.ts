/** Children of this process that were started through `prefork/posix`, from their start to their reaping. */
import { check, isErrno } from '../system-error';
import { addon } from './addon';
import { type SignalArgument, toSignalNumber } from './signal';
import type { WaitResult } from './wait';

/** Called when the child is reaped, whoever asked; undefined: its status went to somebody else. */
export type ReapedListener = (result: WaitResult | undefined) => void;

/** Every child that is not reaped yet, by pid: whichever call reaps it closes its pidfd. */
const live = new Map<number, Child>();

/**
 * A child process. It stays one, as a zombie if it has ended, until `waitpid`, `wait3` or `watchExit` reaps it; its
 * pid cannot become another's before.
 */
export class Child {
  readonly pid: number;
  #pidfd: number;
  readonly #listeners = new Set<ReapedListener>();

  /** @internal Made by spawn and fork alone. `pidfd` is −1 where the kernel has none. */
  constructor(pid: number, pidfd: number) {
    this.pid = pid;
    this.#pidfd = pidfd;
    live.set(pid, this);
  }

  /**
   * A descriptor that stands for the process, pidfd_open(2), closed when the child is reaped. −1 from then on, and
   * from the start on Linux before 5.3 and on macOS.
   */
  get pidfd(): number {
    return this.#pidfd;
  }

  /** Whether it has been reaped by a call of this module. */
  get reaped(): boolean {
    return live.get(this.pid) !== this;
  }

  /**
   * Sends a signal, by the pidfd where there is one, pidfd_send_signal(2): never to another process that got the pid.
   *
   * @param signal 'SIGTERM' by default
   * @returns false: it has been reaped
   * @throws SystemError `EPERM`: the child runs as another user
   */
  kill(signal: SignalArgument = 'SIGTERM'): boolean {
    const number = toSignalNumber(signal);
    if (this.reaped) return false;
    const result =
      this.#pidfd >= 0 ? addon().pidfdSendSignal(this.#pidfd, number) : addon().kill(this.pid, number);
    if (isErrno(result, 'ESRCH')) return false;
    check(result, 'kill', { pid: this.pid });
    return true;
  }

  /** @internal Returns what takes the listener away again. */
  onReaped(listener: ReapedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @internal Tells the listeners while the pidfd is still open. */
  markReaped(result: WaitResult | undefined): void {
    if (this.reaped) return;
    live.delete(this.pid);
    for (const listener of [...this.#listeners]) listener(result);
    if (this.#pidfd >= 0) addon().close(this.#pidfd);
    this.#pidfd = -1;
  }
}

/** @internal The child with that pid, unless it has been reaped. */
export function liveChild(pid: number): Child | undefined {
  return live.get(pid);
}

/** @internal In a forked process: its parent's children are not its own. */
export function forgetChildren(): void {
  for (const child of [...live.values()]) child.markReaped(undefined);
}
