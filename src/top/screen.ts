/** The terminal of `prefork top`: taken over, drawn on, and given back as it was, whatever happens. */
import type { ReadStream, WriteStream } from 'node:tty';
import { keysOf } from './keys';
import type { Line, Size, Style } from './render';

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const SGR: Readonly<Record<Style, string>> = {
  plain: '',
  title: '\x1b[1m',
  heading: '\x1b[7m',
  dim: '\x1b[2m',
  alert: '\x1b[1;31m',
};
/** Where a terminal does not tell. */
const USUAL: Size = { columns: 80, rows: 24 };

export interface ScreenEvents {
  onKey(key: string): void;
  onResize(): void;
  /** its terminal has gone */
  onGone(): void;
}

export class Screen {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #events: ScreenEvents;
  #entered = false;
  #drawn: string[] = [];

  readonly #onData = (text: string): void => {
    for (const key of keysOf(text)) this.#events.onKey(key);
  };
  readonly #onResize = (): void => {
    this.#drawn = [];
    this.#events.onResize();
  };
  readonly #onContinue = (): void => {
    this.enter();
    this.#events.onResize();
  };
  readonly #onGone = (): void => this.#events.onGone();
  /** Also after an error that nobody caught. */
  readonly #onExit = (): void => this.leave();

  constructor(input: ReadStream, output: WriteStream, events: ScreenEvents) {
    this.#input = input;
    this.#output = output;
    this.#events = events;
  }

  get size(): Size {
    const { columns, rows } = this.#output;
    return { columns: columns || USUAL.columns, rows: rows || USUAL.rows };
  }

  enter(): void {
    if (this.#entered) return;
    this.#entered = true;
    this.#drawn = [];
    this.#input.setRawMode(true);
    this.#input.setEncoding('utf8').on('data', this.#onData).once('end', this.#onGone).resume();
    this.#input.on('error', this.#onGone);
    this.#output.on('resize', this.#onResize).on('error', this.#onGone);
    process.once('exit', this.#onExit);
    this.#output.write(ENTER);
  }

  leave(): void {
    if (!this.#entered) return;
    this.#entered = false;
    process.off('exit', this.#onExit);
    this.#input.off('data', this.#onData).off('end', this.#onGone).pause();
    this.#output.off('resize', this.#onResize);
    try {
      this.#input.setRawMode(false);
      this.#output.write(LEAVE);
    } catch {
      // The terminal has gone; there is nothing to give back.
    }
  }

  /** Ctrl-Z: the shell gets its terminal, until it lets this process go on. */
  suspend(): void {
    // First: it may be let go on before it has stopped.
    process.once('SIGCONT', this.#onContinue);
    this.leave();
    process.kill(0, 'SIGTSTP');
  }

  /** Only what has changed is written. */
  draw(lines: readonly Line[]): void {
    if (!this.#entered) return;
    const { rows } = this.size;
    let output = '';
    for (let at = 0; at < rows; at++) {
      const line = lines[at];
      const text = line === undefined ? '' : `${SGR[line.style]}${line.text}\x1b[0m`;
      if (this.#drawn[at] === text) continue;
      this.#drawn[at] = text;
      output += `\x1b[${at + 1};1H${text}\x1b[K`;
    }
    if (output !== '') this.#output.write(output);
  }
}
