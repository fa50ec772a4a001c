/**
 * Marks what this process prints, in its own place: whole lines, each write(2) at the end of one. It wraps the streams
 * of `process`, and the functions of node:fs for those who write to the numbers 1 and 2 (pino does).
 */
import fs from 'node:fs';
import { isatty } from 'node:tty';
import { format, inspect } from 'node:util';
import { interceptWrites, toBuffer } from './fsWrites';
import { describe } from './lastWords';
import { type LineSource, LineTagger, type TaggedLines, type TagFormat } from './lineTagger';
import { emitToProgram, intercept } from './processEvents';

/** 4096 on Linux: the kernel does not mix a write to a pipe that is no longer with those of others. */
export const PIPE_BUF = 4096;
const BUSY_PAUSE_MS = 1;

const { fstatSync, writeSync } = fs;

class TaggedOutput {
  readonly tagger: LineTagger;
  readonly #fd: number;
  #limit: number | undefined;

  constructor(fd: 1 | 2, format: TagFormat, source: LineSource) {
    this.#fd = fd;
    this.tagger = new LineTagger(format, fd === 1 ? 'stdout' : 'stderr', source);
  }

  /** As fs.writeSync(): how many bytes of `bytes` are taken. Throws EAGAIN where a pipe that does not block is full, with nothing taken. */
  writeNow(bytes: Buffer): number {
    const taken = this.tagger.take(bytes);
    let done = 0;
    for (const [text, end] of groups(taken, this.#maxBytes())) {
      try {
        this.#writeWhole(Buffer.from(text, taken.encoding));
      } catch (error) {
        if (done === 0) throw error;
        return done;
      }
      done = end;
      this.tagger.keep(taken, false);
    }
    this.tagger.keep(taken);
    return bytes.length;
  }

  openStream(): void {
    if (!isFile(this.#fd)) return;
    if (this.#fd === 1) void process.stdout;
    else void process.stderr;
  }

  flush(): void {
    const held = this.tagger.takeHeld();
    if (held !== '') this.#writeWhole(Buffer.from(held, 'latin1'));
  }

  patch(stream: NodeJS.WriteStream): void {
    // One by one: what has waited for a pipe would go out in one piece, which the kernel may cut anywhere.
    if (Number.isFinite(this.#maxBytes())) (stream as { _writev?: unknown })._writev = null;
    const plainWrite = stream.write as (...args: unknown[]) => boolean;
    const plainEnd = stream.end as (...args: unknown[]) => NodeJS.WriteStream;
    stream.write = ((chunk: unknown, ...rest: unknown[]): boolean => {
      const bytes = stream.writableEnded || stream.destroyed ? null : toWritten(stream, chunk, rest[0]);
      // Those are errors, and Node's to make.
      if (bytes === null) return plainWrite.call(stream, chunk, ...rest);
      const callback = rest.find((argument) => typeof argument === 'function');
      const taken = this.tagger.take(bytes);
      this.tagger.keep(taken);
      const outs = [...groups(taken, this.#maxBytes())].map(([text]) => text);
      // Where nothing is to be written yet, its callback is still to come in its turn.
      const last = outs.pop() ?? '';
      for (const out of outs) plainWrite.call(stream, out, taken.encoding);
      return plainWrite.call(stream, last, taken.encoding, callback);
    }) as NodeJS.WriteStream['write'];
    stream.end = ((...args: unknown[]) => {
      const chunk = args[0];
      if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') {
        stream.write(chunk as string, args[1] as BufferEncoding);
      }
      const held = this.tagger.takeHeld();
      if (held !== '') plainWrite.call(stream, held, 'latin1');
      return plainEnd.call(stream, ...args.filter((argument) => typeof argument === 'function'));
    }) as NodeJS.WriteStream['end'];
  }

  /** The kernel keeps a write to a file or terminal in one piece, however long. */
  #maxBytes(): number {
    this.#limit ??= isFile(this.#fd) || isatty(this.#fd) ? Number.POSITIVE_INFINITY : PIPE_BUF;
    return this.#limit;
  }

  /** Only a line that is longer than PIPE_BUF can be cut, and is then written to its end. */
  #writeWhole(bytes: Buffer): void {
    let written = writeSync(this.#fd, bytes);
    while (written < bytes.length) {
      try {
        written += writeSync(this.#fd, bytes, written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE_MS);
      }
    }
  }
}

let outputs: readonly [TaggedOutput, TaggedOutput] | undefined;

/** Once in a process; for a worker that was forked from one where it was called, only who it is changes. */
export function tagOutput(format: TagFormat, source: LineSource): void {
  if (outputs !== undefined) {
    for (const output of outputs) output.tagger.setSource(source);
    return;
  }
  outputs = [new TaggedOutput(1, format, source), new TaggedOutput(2, format, source)];
  onFirstUse('stdout', (stream) => outputs![0].patch(stream));
  onFirstUse('stderr', (stream) => outputs![1].patch(stream));
  // Node's stream for files takes fs.writeSync() as it finds it when it is first used: that is to be the plain one.
  for (const output of outputs) output.openStream();
  interceptWrites((fd) => outputs![fd - 1]!);
  patchWarnings(outputs[1]);
  watchEnd(outputs[1]);
}

/** Writes out lines that have not ended. */
export function flushTaggedOutput(): void {
  for (const output of outputs ?? []) {
    try {
      output.flush();
    } catch {
      // Nobody reads it any more.
    }
  }
}

/** The stream is made when it is first used. */
function onFirstUse(name: 'stdout' | 'stderr', use: (stream: NodeJS.WriteStream) => void): void {
  const descriptor = Object.getOwnPropertyDescriptor(process, name);
  const get = descriptor?.get;
  if (get === undefined) return;
  let used = false;
  Object.defineProperty(process, name, {
    ...descriptor,
    get: () => {
      const stream: NodeJS.WriteStream = get.call(process);
      if (!used) {
        used = true;
        use(stream);
      }
      return stream;
    },
  });
}

/** Text stays text, which is quicker. null: what a stream of bytes does not take. */
function toWritten(stream: NodeJS.WriteStream, chunk: unknown, encoding: unknown): string | Buffer | null {
  if (ArrayBuffer.isView(chunk)) return toBuffer(chunk);
  if (typeof chunk !== 'string') return null;
  const state = (stream as { _writableState?: { defaultEncoding?: string } })._writableState;
  const named = typeof encoding === 'string' ? encoding : (state?.defaultEncoding ?? 'utf8');
  if (!Buffer.isEncoding(named)) return null;
  return /^utf-?8$/i.test(named) ? chunk : Buffer.from(chunk, named);
}

/** As many lines at a time as fit; a longer one alone. With where they end in what was written. */
function* groups({ lines, ends, encoding }: TaggedLines, maxBytes: number): Generator<[string, number]> {
  if (lines.length === 0) return;
  if (maxBytes === Number.POSITIVE_INFINITY || lines.length === 1) {
    return yield [lines.length === 1 ? lines[0]! : lines.join(''), ends.at(-1)!];
  }
  let from = 0;
  let bytes = 0;
  for (const [index, line] of lines.entries()) {
    const length = encoding === 'latin1' ? line.length : Buffer.byteLength(line);
    if (index > from && bytes + length > maxBytes) {
      yield [lines.slice(from, index).join(''), ends[index - 1]!];
      from = index;
      bytes = 0;
    }
    bytes += length;
  }
  yield [lines.slice(from).join(''), ends.at(-1)!];
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** Node prints warnings past process.stderr. */
function patchWarnings(stderr: TaggedOutput): void {
  const target = process as unknown as { _rawDebug?: (...args: unknown[]) => void };
  const plain = target._rawDebug;
  if (typeof plain !== 'function') return;
  target._rawDebug = (...args) => {
    try {
      stderr.writeNow(Buffer.from(`${format(...args)}\n`));
    } catch {
      plain(...args);
    }
  };
}

/** After the program's own listeners: lines that have not ended, and the error that ends it, which Node would print past all. */
function watchEnd(stderr: TaggedOutput): void {
  let fatal: { readonly error: unknown } | null = null;
  process.on('uncaughtExceptionMonitor', (error) => {
    const isHandled =
      process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    fatal = isHandled || isNodesToTell(error) ? null : { error };
  });
  intercept('exit', (code) => {
    try {
      emitToProgram('exit', code);
    } finally {
      flushTaggedOutput();
    }
    if (fatal !== null) endWith(stderr, fatal.error, Number(code));
    return true;
  });
}

/** It does more than to print, or knows more: the place of a syntax error in a file that is being loaded. */
function isNodesToTell(error: unknown): boolean {
  return (
    (error instanceof SyntaxError && !tellsPlace(describe(error))) ||
    process.report?.reportOnUncaughtException === true ||
    process.execArgv.includes('--abort-on-uncaught-exception')
  );
}

function tellsPlace(stack: string): boolean {
  const firstFrame = /^ {4}at .*$/m.exec(stack)?.[0];
  return /^\S.*:\d+\n/.test(stack) || (firstFrame !== undefined && !firstFrame.includes('node:internal'));
}

function endWith(stderr: TaggedOutput, error: unknown, code: number): void {
  const text =
    error instanceof SyntaxError
      ? describe(error)
      : error instanceof Error
        ? inspect(error)
        : `Uncaught ${inspect(error)}`;
  try {
    stderr.writeNow(Buffer.from(`${text}\n\nNode.js ${process.version}\n`));
  } catch {
    return;
  }
  (process as unknown as { reallyExit(code: number): void }).reallyExit(Number(process.exitCode ?? code));
}
