/** Whole lines out of what a worker prints, each with which worker it is from. Nothing is written here. */

/** 1 MiB: more of a line that does not end is not held back, but goes out as a line of its own. */
export const MAX_HELD_BYTES = 1_048_576;

export type TagFormat = 'pretty' | 'json';

/** What a line is marked with. */
export interface LineSource {
  /** null: the process that workers are forked from */
  readonly slot: number | null;
  readonly pid: number;
  readonly generation: number;
}

/** What one write gives: lines that are complete now, and the beginning of one that is not. */
export interface TaggedLines {
  /** each with its newline */
  readonly lines: readonly string[];
  /** where each ends in what was written, in bytes */
  readonly ends: readonly number[];
  /** latin1: a character a byte */
  readonly encoding: 'utf8' | 'latin1';
  /** to be held back once the lines are written */
  readonly rest: string;
}

/** Of one stream. Bytes that are no UTF-8 are kept as they are by `pretty`; JSON cannot hold them. */
export class LineTagger {
  readonly #format: TagFormat;
  readonly #stream: 'stdout' | 'stderr';
  /** what each line begins with; of JSON from the second member on */
  #head = '';
  /** of a line that has not ended; a character a byte */
  #held = '';

  constructor(format: TagFormat, stream: 'stdout' | 'stderr', source: LineSource) {
    this.#format = format;
    this.#stream = stream;
    this.setSource(source);
  }

  setSource({ slot, pid, generation }: LineSource): void {
    const place = slot === null ? 'preload' : `slot ${slot}`;
    this.#head =
      this.#format === 'pretty'
        ? `[${place} pid ${pid} gen ${generation}] `
        : `"slot":${slot},"pid":${pid},"generation":${generation},"stream":"${this.#stream}",`;
  }

  /** What would be written; `keep` makes it so. */
  take(chunk: string | Buffer): TaggedLines {
    if (typeof chunk === 'string' && this.#held === '' && chunk.endsWith('\n')) {
      return this.#split(chunk, 'utf8', 0);
    }
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    return this.#split(this.#held + bytes.toString('latin1'), 'latin1', this.#held.length);
  }

  /** The lines of a write, or those before the line of that number, have been written. */
  keep(taken: TaggedLines, isAll = true): void {
    this.#held = isAll ? taken.rest : '';
  }

  /** The line that has not ended, as if it had; '' where there is none. A character a byte. */
  takeHeld(): string {
    const held = this.#held;
    this.#held = '';
    return held === '' ? '' : this.#line(held, 'latin1', this.#opening());
  }

  #split(text: string, encoding: TaggedLines['encoding'], before: number): TaggedLines {
    const opening = this.#opening();
    const lines: string[] = [];
    const ends: number[] = [];
    let at = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
      lines.push(this.#line(text.slice(at, end), encoding, opening));
      at = end + 1;
      ends.push(at - before);
    }
    if (text.length - at > MAX_HELD_BYTES) {
      const cut = characterStart(text);
      lines.push(this.#line(text.slice(at, cut), encoding, opening, true));
      at = cut;
      ends.push(at - before);
    }
    return { lines, ends, encoding, rest: text.slice(at) };
  }

  #opening(): string {
    return this.#format === 'pretty' ? this.#head : `{"time":"${new Date().toISOString()}",${this.#head}`;
  }

  #line(text: string, encoding: TaggedLines['encoding'], opening: string, isPart = false): string {
    if (this.#format === 'pretty') return `${opening}${text}\n`;
    const line = encoding === 'utf8' ? text : Buffer.from(text, 'latin1').toString();
    const json = `${opening}${isPart ? '"part":true,' : ''}${member(line)}}\n`;
    return encoding === 'utf8' ? json : Buffer.from(json).toString('latin1');
  }
}

/** A line that is an object in JSON stays one. */
function member(line: string): string {
  return isObject(line) ? `"data":${line}` : `"msg":${JSON.stringify(line)}`;
}

function isObject(line: string): boolean {
  if (!line.startsWith('{')) return false;
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

/** Where the last character begins, if it is cut off in its middle; else the end. A character a byte. */
function characterStart(bytes: string): number {
  for (let back = 1; back <= 3; back++) {
    const byte = bytes.charCodeAt(bytes.length - back);
    if (byte < 0x80) break;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? bytes.length - back : bytes.length;
    }
  }
  return bytes.length;
}
