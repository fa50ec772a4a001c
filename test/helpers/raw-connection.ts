/** A connection on which a test says every byte itself, and sees how it ends. */
import * as net from 'node:net';

export class RawConnection {
  readonly socket: net.Socket;
  received = '';
  /** how the server ended it: `end` (FIN) or the error's code */
  readonly ended: Promise<string>;
  readonly #watchers = new Set<() => void>();
  #over = '';

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.received += text;
      this.#notify();
    });
    this.ended = new Promise((resolve) => {
      const over = (how: string) => {
        this.#over ||= how;
        this.#notify();
        resolve(how);
      };
      socket.on('end', () => over('end'));
      socket.on('error', (error: NodeJS.ErrnoException) => over(error.code ?? error.message));
      socket.on('close', () => over('closed'));
    });
  }

  /** Half-closing is up to the test. */
  static open(options: net.NetConnectOpts): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ allowHalfOpen: true, noDelay: true, ...options } as net.NetConnectOpts);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.removeListener('error', reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  send(text: string): void {
    this.socket.write(text, 'latin1');
  }

  get(path: string, headers = ''): void {
    this.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  }

  /** Everything received, once it has `text` (so many times). */
  async until(text: string, times = 1): Promise<string> {
    for (;;) {
      if (this.received.split(text).length > times) return this.received;
      if (this.#over !== '')
        throw new Error(`${this.#over} before ${JSON.stringify(text)}: ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => {
        const watcher = () => {
          this.#watchers.delete(watcher);
          resolve();
        };
        this.#watchers.add(watcher);
      });
    }
  }

  /** The headers of the answers, one string each. */
  heads(): string[] {
    return this.received
      .split('HTTP/1.1 ')
      .slice(1)
      .map((answer) => answer.split('\r\n\r\n', 1)[0] as string);
  }

  close(): void {
    this.socket.destroy();
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}
