/** A stream read line by line, to wait on. */
import type { Readable } from 'node:stream';

/** A bound on every wait, not a measure: far above what anything takes, below the runner's own. */
export const LIMIT_MS = 40_000;

export class Lines {
  /** every line so far, normalised */
  readonly all: string[] = [];
  readonly #waiting = new Set<() => void>();
  #rest = '';
  #cursor = 0;

  constructor(
    readonly what: string,
    readonly normalise: (line: string) => string,
  ) {}

  read(stream: Readable): void {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => this.push(chunk));
    stream.on('error', () => {});
    stream.on('end', () => {
      if (this.#rest !== '') this.push('\n');
    });
  }

  /** Calls back after each new line. */
  onLine(callback: () => void): void {
    this.#waiting.add(callback);
  }

  push(chunk: string): void {
    // The original's message about a program that cannot be executed has no end of line.
    const text = (this.#rest + chunk).replace(
      /^(failed to exec .*?)(?=(?:starting )?(?:new )?worker \d)/gm,
      '$1\n',
    );
    const lines = text.split('\n');
    this.#rest = lines.pop() ?? '';
    this.all.push(...lines.map(this.normalise).filter((line) => line !== ''));
    for (const look of this.#waiting) look();
  }

  /** As {@link next}, where the line may have come before the last one waited for. */
  async nextOrSeen(pattern: RegExp): Promise<string> {
    return this.all.find((line) => pattern.test(line)) ?? this.next(pattern);
  }

  /** Resolves when `done` holds for all lines so far. Rejects after a bound. */
  until(what: string, done: (all: readonly string[]) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!done(this.all)) return;
        this.#waiting.delete(look);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no ${what} in ${LIMIT_MS} ms; seen:\n${this.all.join('\n')}`));
      }, LIMIT_MS);
      this.#waiting.add(look);
      look();
    });
  }

  /** The next line, after the last one waited for, that matches. Rejects after a bound, with all that was seen. */
  next(pattern: RegExp): Promise<string> {
    return new Promise((done, failed) => {
      const look = () => {
        while (this.#cursor < this.all.length) {
          const line = this.all[this.#cursor++] as string;
          if (!pattern.test(line)) continue;
          this.#waiting.delete(look);
          clearTimeout(timer);
          done(line);
          return;
        }
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        failed(new Error(`no ${this.what} ${pattern} in ${LIMIT_MS} ms; seen:\n${this.all.join('\n')}`));
      }, LIMIT_MS);
      this.#waiting.add(look);
      look();
    });
  }
}
