/**
 * The manager's log: one line an event, written before the call returns, so that nothing is lost at exit or
 * when the process replaces itself. Pretty for people, JSON for machines. What the lines cost in memory is
 * loaded by the first `createLog`, and the pretty part only where it is used.
 */
import { isatty } from 'node:tty';
import type { Level, Logger } from 'pino';
import { describe, preforkError } from '../errors';

/** What lines are about; the same names in every line. Others are fine. */
export interface LogFields {
  /** index of the slot */
  readonly slot?: number;
  readonly workerId?: number;
  /** of the worker, unless the line says otherwise */
  readonly pid?: number;
  readonly generation?: number;
  readonly signal?: string;
  readonly exitCode?: number | null;
  /** what was thrown */
  readonly err?: unknown;
  readonly [name: string]: unknown;
}

type Write = (fields: LogFields, message: string) => void;

export interface Log extends Readonly<Record<Level, Write>> {
  /** Opens the log file by its name again (after logrotate moved it). The old one is kept, and it is said so, when that fails. */
  reopen(): void;
  /** descriptor that lines are written to: for the standard error of a daemon's workers */
  readonly fd: number;
}

export interface LogSettings {
  readonly format: 'pretty' | 'json';
  readonly level: Level | 'silent';
  /** an open descriptor, or a file that is appended to */
  readonly destination: number | string;
}

/** Permission bits of a new log file, before the umask. */
const LOG_FILE_MODE = 0o640;
/** 1 MiB: kept at most while the destination does not take lines; above that they are dropped. */
const MAX_HELD_BYTES = 1_048_576;
/** Tries of 100 ms to write to a pipe that is full and does not block, before the line is held for the next one. */
const MAX_BUSY_TRIES = 10;

/** Opens the log. Throws `ERR_PREFORK_PATH` when the file cannot be opened. */
export function createLog({ format, level, destination }: LogSettings): Log {
  const pino = require('pino') as typeof import('pino');
  let busyTries = 0;
  const file = openDestination(
    () =>
      pino.destination({
        dest: destination,
        sync: true,
        append: true,
        mode: LOG_FILE_MODE,
        maxLength: MAX_HELD_BYTES,
        retryEAGAIN: () => ++busyTries % MAX_BUSY_TRIES !== 0,
      }) as Destination,
    destination,
  );
  // A full disk or a reader that left must not end the manager; held lines follow when writing works again.
  file.on('error', () => {});
  const print = format === 'pretty' ? prettyPrinter(file.fd) : null;
  const stream = print === null ? file : { write: (line: string) => void file.write(print(line)) };
  const logger = pino.pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  return withReopen(logger, file);
}

/** The types of sonic-boom leave `fd` out. */
type Destination = ReturnType<typeof import('pino').destination> & { readonly fd: number };

function withReopen(logger: Logger, file: Destination): Log {
  const write =
    (level: Level): Write =>
    (fields, message) =>
      logger[level](fields, message);
  return {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    reopen() {
      try {
        file.reopen();
      } catch (err) {
        logger.error({ err }, 'cannot reopen the log file; the old one is kept');
      }
    },
    get fd() {
      return file.fd;
    },
  };
}

function openDestination(open: () => Destination, destination: number | string): Destination {
  try {
    return open();
  } catch (error) {
    const path = String(destination);
    throw preforkError('ERR_PREFORK_PATH', { where: '--log-file', path, problem: describe(error) }, error);
  }
}

/** `10:04:05.123 INFO  worker ready  slot=0 pid=4711 generation=1`; colours only on a terminal. */
function prettyPrinter(fd: number): (line: string) => string {
  const { prettyFactory } = require('pino-pretty') as typeof import('pino-pretty');
  return prettyFactory({
    colorize: isatty(fd) && !process.env.NO_COLOR,
    translateTime: 'SYS:HH:MM:ss.l',
    hideObject: true,
    messageFormat: (line, messageKey, _levelLabel, { colors }) => {
      const { level: _level, time: _time, [messageKey]: message, ...fields } = line;
      const pairs = Object.entries(fields).map(([name, value]) => `${name}=${inOneLine(value)}`);
      return pairs.length === 0 ? String(message) : `${message}  ${colors.dim(pairs.join(' '))}`;
    },
  });
}

/** Words as they are, everything else as JSON; of an error its message. */
function inOneLine(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@+-]+$/.test(value)) {
    return value;
  }
  const isError = typeof value === 'object' && value !== null && 'stack' in value && 'message' in value;
  return JSON.stringify(isError ? value.message : value);
}
