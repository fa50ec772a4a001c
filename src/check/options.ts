/** What `prefork check` is told: its arguments as text to what the check takes. */
import { readFileSync } from 'node:fs';
import { describeErrno, preforkError } from '../errors';
import { parseDuration } from '../options/duration';
import type { Target } from './connect';

/** As commander reads them. */
export interface CheckArguments {
  readonly reloads: string;
  readonly connections: string;
  readonly oneShot: string;
  readonly interval: string;
  readonly pause: string;
  readonly timeout: string;
  readonly commandTimeout: string;
  readonly expectStatus: string;
  readonly http2?: boolean;
  readonly insecure?: boolean;
  readonly cacert?: string;
  readonly unixSocket?: string;
}

export interface CheckOptions {
  readonly url: string;
  readonly target: Target;
  readonly path: string;
  readonly authority: string;
  readonly keepAlive: number;
  readonly oneShot: number;
  readonly reloads: number;
  readonly intervalMs: number;
  readonly thinkMs: number;
  readonly timeoutMs: number;
  readonly commandTimeoutMs: number;
  readonly expects: (status: number) => boolean;
  readonly command: readonly string[];
}

export const MAX_CONNECTIONS = 1024;
export const MAX_RELOADS = 10_000;
/** An hour, for each of the times. */
const MAX_TIME_MS = 3_600_000;

/** Throws ERR_PREFORK_CHECK_USAGE for what cannot be read. */
export function readCheckOptions(
  url: string,
  command: readonly string[],
  given: CheckArguments,
): CheckOptions {
  const keepAlive = readCount('--connections', given.connections, 0, MAX_CONNECTIONS);
  const oneShot = readCount('--one-shot', given.oneShot, 0, MAX_CONNECTIONS);
  if (keepAlive + oneShot === 0) refuse('--connections and --one-shot are both 0: there would be no load');
  if (given.cacert !== undefined && given.insecure)
    refuse('--cacert has no effect with --insecure, which trusts every certificate');
  return {
    ...readUrl(url, given),
    keepAlive,
    oneShot,
    reloads: readCount('--reloads', given.reloads, 1, MAX_RELOADS),
    intervalMs: readTime('--interval', given.interval, 0),
    thinkMs: readTime('--pause', given.pause, 0),
    timeoutMs: readTime('--timeout', given.timeout, 1),
    commandTimeoutMs: readTime('--command-timeout', given.commandTimeout, 1),
    expects: readStatuses(given.expectStatus),
    command,
  };
}

function readUrl(
  text: string,
  given: CheckArguments,
): Pick<CheckOptions, 'url' | 'target' | 'path' | 'authority'> {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '') {
    return refuse(`'${text}' is no URL to check; expected http://host:port/path or https://…`);
  }
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const protocol = given.http2 ? (secure ? 'http2' : 'h2c') : secure ? 'https' : 'http';
  const place =
    given.unixSocket === undefined
      ? { host, port: Number(url.port || (secure ? 443 : 80)) }
      : { socketPath: given.unixSocket };
  const target: Target = {
    protocol,
    ...place,
    servername: host,
    insecure: given.insecure === true,
    ...(given.cacert !== undefined && { ca: readCertificates(given.cacert) }),
  };
  return { url: url.href, target, path: `${url.pathname}${url.search}`, authority: url.host };
}

function readCertificates(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    return refuse(`--cacert: ${file}: ${describeErrno(error)}`);
  }
}

/** `200`, `200,204`, `2xx,304`. */
function readStatuses(text: string): (status: number) => boolean {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.some((part) => !/^[2-5](\d\d|xx)$/.test(part)))
    refuse(`--expect-status: '${text}' is no list of statuses; expected such as 200,204 or 2xx`);
  const patterns = parts.map((part) => new RegExp(`^${part.replace('xx', '..')}$`));
  return (status) => patterns.some((pattern) => pattern.test(String(status)));
}

function readCount(option: string, text: string, least: number, most: number): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (count < least || count > most) refuse(`${option}: '${text}' is not a number from ${least} to ${most}`);
  return count;
}

function readTime(option: string, text: string, leastMs: number): number {
  const read = parseDuration(text);
  if (!read.ok) return refuse(`${option}: '${text}' ${read.reason}; expected such as 500ms, 10s`);
  if (read.value < leastMs || read.value > MAX_TIME_MS)
    refuse(`${option}: '${text}' is not from ${leastMs}ms to 1h`);
  return read.value;
}

function refuse(problem: string): never {
  throw preforkError('ERR_PREFORK_CHECK_USAGE', { problem });
}
