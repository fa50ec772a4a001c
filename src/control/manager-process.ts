/** A manager as a process from outside: signalled, and waited for. By pidfd where there is one, so that a reused pid is no danger. */
import { type Binding, loadBinding } from '../engine/binding';
import { errnoCode, signalNumber } from '../engine/errno';
import { isAlive } from '../manager/pid-owner';

/** Without a pidfd the pid is looked up again and again. */
const POLL_MS = 50;

export class ManagerProcess {
  readonly pid: number;
  /** −1: no addon, or a kernel without */
  readonly #pidfd: number;
  readonly #binding: Binding | null;

  private constructor(pid: number, pidfd: number, binding: Binding | null) {
    this.pid = pid;
    this.#pidfd = pidfd;
    this.#binding = binding;
  }

  /** null: there is no such process (any more). Close it after use. */
  static open(pid: number): ManagerProcess | null {
    const { binding } = loadBinding();
    const pidfd = binding?.pidfdOpen(pid) ?? -1;
    if (pidfd < 0 && !isAlive(pid)) return null;
    return new ManagerProcess(pid, pidfd, binding);
  }

  /** Throws an error with the code EPERM where that is not allowed. */
  signal(signal: NodeJS.Signals): void {
    if (this.#binding === null || this.#pidfd < 0) {
      process.kill(this.pid, signal);
      return;
    }
    const code = this.#binding.pidfdSendSignal(this.#pidfd, signalNumber(signal));
    if (code < 0 && errnoCode(code) !== 'ESRCH') {
      throw Object.assign(new Error(errnoCode(code)), { code: errnoCode(code) });
    }
  }

  /** Whether it ended within that time. */
  async ended(timeoutMs: number): Promise<boolean> {
    const { promise, settle } = deferred();
    const timer = setTimeout(() => settle(false), Math.min(timeoutMs, 0x7fffffff));
    const stop = this.#watch(() => settle(true));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /** Calls back when it has ended; returns what ends the watch. */
  #watch(callback: () => void): () => void {
    if (this.#binding !== null && this.#pidfd >= 0) {
      const poller = this.#binding.createPoller(callback);
      if (typeof poller !== 'number') {
        poller.add(this.#pidfd, 0);
        return () => poller.close();
      }
    }
    const timer = setInterval(() => {
      if (!isAlive(this.pid)) callback();
    }, POLL_MS);
    return () => clearInterval(timer);
  }

  close(): void {
    if (this.#pidfd >= 0) this.#binding?.close(this.#pidfd);
  }
}

function deferred(): { promise: Promise<boolean>; settle: (value: boolean) => void } {
  let settle: (value: boolean) => void = () => {};
  const promise = new Promise<boolean>((resolve) => {
    settle = resolve;
  });
  return { promise, settle };
}
