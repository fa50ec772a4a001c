/** Word to the service manager: sd_notify(3) without libsystemd. Never waits, and loses nothing while the queue is full for a moment. */
import type { Binding } from '../engine/binding';
import { errnoCode, errnoText } from '../engine/errno';
import type { Log } from '../manager/log';

/** Messages that wait because the receiver's queue is full; the oldest of more is lost. */
const MAX_QUEUED = 32;
const RETRY_MS = 50;

/** The part of the addon that is needed here. */
export type Datagrams = Pick<Binding, 'sendUnixDatagram'>;

export class Notifier {
  /** abstract where it begins with a zero byte */
  readonly #path: string;
  readonly #binding: Datagrams;
  readonly #log: Log;
  #queue: string[] = [];
  #retry: NodeJS.Timeout | null = null;
  #failed = false;

  private constructor(path: string, binding: Datagrams, log: Log) {
    this.#path = path;
    this.#binding = binding;
    this.#log = log;
  }

  /** null: nobody wants to know (`NOTIFY_SOCKET`), or it cannot be told. */
  static fromEnvironment(binding: Datagrams | null, log: Log, env = process.env): Notifier | null {
    const socket = env.NOTIFY_SOCKET;
    if (!socket) return null;
    if (binding === null) {
      log.warn(
        { event: 'notify-failed' },
        'NOTIFY_SOCKET is set, which takes the addon: systemd is told nothing',
      );
      return null;
    }
    if (!/^[/@]./.test(socket)) {
      log.warn({ event: 'notify-failed', socket }, 'NOTIFY_SOCKET is no path and no abstract name');
      return null;
    }
    return new Notifier(socket.replace(/^@/, '\0'), binding, log);
  }

  /** Assignments, such as `READY=1`; they arrive together. */
  send(...assignments: readonly string[]): void {
    this.#queue.push(assignments.map((each) => each.replaceAll('\n', ' ')).join('\n'));
    if (this.#queue.length > MAX_QUEUED) this.#queue.shift();
    this.#flush();
  }

  close(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
  }

  #flush(): void {
    this.close();
    for (let text = this.#queue[0]; text !== undefined; text = this.#queue[0]) {
      const result = this.#binding.sendUnixDatagram(this.#path, text);
      const code = result < 0 ? errnoCode(result) : null;
      if (code === 'EAGAIN' || code === 'ENOBUFS') {
        this.#retry = setTimeout(() => this.#flush(), RETRY_MS);
        return;
      }
      this.#queue.shift();
      this.#tell(code);
    }
  }

  /** Once, until it works again. */
  #tell(code: string | null): void {
    if (code !== null && !this.#failed) {
      this.#log.warn(
        { event: 'notify-failed', code },
        `cannot notify the service manager: ${errnoText(code)} (${code})`,
      );
    }
    this.#failed = code !== null;
  }
}
