/**
 * The manager's log: one line an event, written before the call returns, so that nothing is lost at exit or
 * when the process replaces itself. Pretty for people, JSON for machines. What the lines cost in memory is
 * loaded by the first `createLog`, and the pretty part only where it is used.
 */
import { isatty } from 'node:tty';
import type { Level, Logger } from 'pino';
import { describeErrno, preforkError } from '../errors';
import { LogSink } from './log-sink';

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
  /** text: what kind of line it is, and its message says to people all that the fields say to machines */
  readonly event?: unknown;
  readonly [name: string]: unknown;
}

type Write = (fields: LogFields, message: string) => void;

export interface Log extends Readonly<Record<Level, Write>> {
  /** Opens the log file by its name again (after logrotate moved it). The old one is kept, and it is said so, when that fails. */
  reopen(): void;
  /** descriptor that lines are written to: for the standard error of a daemon's workers */
  readonly fd: number;
  /** absolute path of the log file; null: it is a descriptor that was open before */
  readonly file: string | null;
}

export interface LogSettings {
  readonly format: 'pretty' | 'json';
  readonly level: Level | 'silent';
  /** an open descriptor, or a file that is appended to */
  readonly destination: number | string;
}

/** Opens the log. Throws `ERR_PREFORK_PATH` when the file cannot be opened. */
export function createLog({ format, level, destination }: LogSettings): Log {
  const pino = require('pino') as typeof import('pino');
  const sink = openSink(destination);
  const print = format === 'pretty' ? prettyPrinter(sink.fd) : null;
  const stream = print === null ? sink : { write: (line: string) => sink.write(print(line)) };
  const logger = pino.pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  return toLog(logger, sink);
}

function toLog(logger: Logger, sink: LogSink): Log {
  const write =
    (level: Level): Write =>
    (fields, message) => {
      logger[level](fields, message);
      const lines = sink.takeLost();
      if (lines > 0) {
        logger.warn({ lines }, 'log lines were lost, since they could not be written');
      }
    };
  return {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    reopen() {
      try {
        sink.reopen();
      } catch (err) {
        logger.error({ err }, 'cannot reopen the log file; the old one is kept');
      }
    },
    get fd() {
      return sink.fd;
    },
    file: sink.file,
  };
}

function openSink(destination: number | string): LogSink {
  try {
    return new LogSink(destination);
  } catch (error) {
    const path = String(destination);
    throw preforkError(
      'ERR_PREFORK_PATH',
      { where: '--log-file', path, problem: describeErrno(error) },
      error,
    );
  }
}

/**
 * `[10:04:05.123] INFO: cannot write the file  code=ENOSPC`; colours only on a terminal. The fields of an `event`
 * are in its message already.
 */
function prettyPrinter(fd: number): (line: string) => string {
  const { prettyFactory } = require('pino-pretty') as typeof import('pino-pretty');
  const print = prettyFactory({
    colorize: isatty(fd) && !process.env.NO_COLOR,
    translateTime: 'SYS:HH:MM:ss.l',
    hideObject: true,
    messageFormat: (line, messageKey, _levelLabel, { colors }) => {
      const pairs = Object.entries(line.fields as object).map(
        ([name, value]) => `${name}=${inOneLine(value)}`,
      );
      return pairs.length === 0
        ? String(line[messageKey])
        : `${line[messageKey]}  ${colors.dim(pairs.join(' '))}`;
    },
  });
  return (line) => {
    // In a place of their own, since pino-pretty would take a worker's pid for that of the process that logs.
    const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
    return print({ level, time, msg, fields: typeof fields.event === 'string' ? {} : fields });
  };
}

/** Words as they are, everything else as JSON; of an error its message. */
function inOneLine(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@+-]+$/.test(value)) {
    return value;
  }
  const isError = typeof value === 'object' && value !== null && 'stack' in value && 'message' in value;
  return JSON.stringify(isError ? value.message : value);
}
