/** What a worker printed last, for the manager to tell why it ended. */
import type { Channel } from './channel';

const KEEP_BYTES = 4096;
/** Trimmed only then, so that a write costs next to nothing. */
const TRIM_AT = 64;
/** Node's exit code for it */
const UNSETTLED = 13;

export class LastWords {
  readonly #channel: Channel;
  /** A worker that ends without an error, but before it served, has something to explain too. */
  readonly #hasServed: () => boolean;
  readonly #chunks: string[] = [];

  constructor(channel: Channel, hasServed: () => boolean) {
    this.#channel = channel;
    this.#hasServed = hasServed;
  }

  install(): void {
    this.#watchStderr();
    // Node prints a fatal error past process.stderr.
    process.on('uncaughtExceptionMonitor', (error) => this.#keep(`${describe(error)}\n`));
    process.on('exit', (code) => {
      if (code === 0 && this.#hasServed()) return;
      const text = this.#text() || (code === UNSETTLED ? 'a top-level await that never settled' : '');
      if (text !== '') this.#channel.sendNow({ type: 'lastWords', text });
    });
  }

  /** The stream is made when it is first used, and then patched: to make it now would cost a start that prints nothing. */
  #watchStderr(): void {
    const descriptor = Object.getOwnPropertyDescriptor(process, 'stderr');
    const get = descriptor?.get;
    if (get === undefined) return;
    let patched = false;
    Object.defineProperty(process, 'stderr', {
      ...descriptor,
      get: () => {
        const stream: NodeJS.WriteStream = get.call(process);
        if (!patched) {
          patched = true;
          this.#patch(stream);
        }
        return stream;
      },
    });
  }

  #patch(stream: NodeJS.WriteStream): void {
    const write = stream.write as (...args: unknown[]) => boolean;
    stream.write = ((chunk: unknown, ...rest: unknown[]) => {
      if (typeof chunk === 'string') this.#keep(chunk);
      else if (chunk instanceof Uint8Array) this.#keep(Buffer.from(chunk.subarray(-KEEP_BYTES)).toString());
      return write.call(stream, chunk, ...rest);
    }) as NodeJS.WriteStream['write'];
  }

  #keep(text: string): void {
    this.#chunks.push(text.length > KEEP_BYTES ? text.slice(-KEEP_BYTES) : text);
    if (this.#chunks.length >= TRIM_AT) this.#chunks.splice(0, TRIM_AT, this.#text());
  }

  #text(): string {
    const bytes = Buffer.from(this.#chunks.join('')).subarray(-KEEP_BYTES);
    // Not from the middle of a character.
    return bytes.toString().replace(/^\uFFFD+/, '');
  }
}

/** An error as Node tells it, on several lines. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return `Uncaught ${String(error)}`;
  const stack = error.stack ?? String(error);
  return error instanceof SyntaxError && !stack.includes(process.argv[1] ?? '\0')
    ? syntaxError(stack)
    : stack;
}

/** Node keeps file and line of a CommonJS syntax error to itself; compiling the entry again tells them, if it is the one. */
function syntaxError(stack: string): string {
  const entry = process.argv[1];
  if (entry === undefined) return stack;
  try {
    const { readFileSync } = require('node:fs') as typeof import('node:fs');
    const { Script } = require('node:vm') as typeof import('node:vm');
    const wrapped = `(function (exports, require, module, __filename, __dirname) {${readFileSync(entry, 'utf8')}\n})`;
    new Script(wrapped, { filename: entry });
  } catch (error) {
    if (error instanceof SyntaxError && error.stack !== undefined) return error.stack;
  }
  return stack;
}
