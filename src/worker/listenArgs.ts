/** What the arguments of net.Server.listen() mean. Whatever is not understood here is left to Node, with its errors. */

export interface ListenArgs {
  /** a TCP port, or -1 with `path` */
  readonly port: number;
  readonly host: string | undefined;
  readonly path: string | undefined;
  /** undefined: Node's default */
  readonly backlog: number | undefined;
  readonly ipv6Only: boolean;
  readonly signal: AbortSignal | undefined;
  readonly readableAll: boolean;
  readonly writableAll: boolean;
  readonly callback: (() => void) | undefined;
}

/** The program listens on a descriptor of its own. */
export interface ListenFd {
  readonly fd: number;
}

interface Options {
  port?: unknown;
  host?: unknown;
  path?: unknown;
  backlog?: unknown;
  ipv6Only?: unknown;
  signal?: unknown;
  readableAll?: unknown;
  writableAll?: unknown;
  fd?: unknown;
  handle?: unknown;
  _handle?: unknown;
}

/** null: for Node to do (a handle) or to refuse. */
export function parseListenArgs(args: readonly unknown[]): ListenArgs | ListenFd | null {
  const options = optionsOf(args);
  if (options._handle || options.handle) return null;
  const { signal } = options;
  if (signal !== undefined && !isAbortSignal(signal)) return null;
  if (typeof options.fd === 'number' && options.fd >= 0) return { fd: options.fd };
  const port = portOf(options, args);
  if (port === null) return null;
  const path = port === -1 ? pathOf(options) : undefined;
  if (path === null) return null;
  const last = args.at(-1);
  return {
    port,
    host: port !== -1 && options.host ? (options.host as string) : undefined,
    path,
    backlog: toNumber(options.backlog) || toNumber(args[1]) || toNumber(args[2]) || undefined,
    ipv6Only: options.ipv6Only === true,
    signal,
    readableAll: options.readableAll === true,
    writableAll: options.writableAll === true,
    callback: typeof last === 'function' ? (last as () => void) : undefined,
  };
}

function optionsOf(args: readonly unknown[]): Options {
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) return first;
  if (typeof first === 'string' && toNumber(first) === undefined) return { path: first };
  return { port: first, ...(typeof second === 'string' && { host: second }) };
}

/** -1: it is no port; null: an invalid one. */
function portOf(options: Options, args: readonly unknown[]): number | null {
  const { port } = options;
  if (args.length === 0 || typeof args[0] === 'function' || port === null) return 0;
  if (port === undefined) return 'port' in options ? 0 : -1;
  if (typeof port !== 'number' && typeof port !== 'string') return null;
  if (typeof port === 'string' && port.trim() === '') return null;
  const number = Number(port);
  return Number.isInteger(number) && number >= 0 && number <= 65_535 ? number : null;
}

function pathOf(options: Options): string | null {
  const { path } = options;
  if (typeof path !== 'string' || path === '' || toNumber(path) !== undefined) return null;
  const chmod = Boolean(options.readableAll || options.writableAll);
  return path.startsWith('\0') && chmod ? null : path;
}

function isAbortSignal(value: unknown): value is AbortSignal {
  return typeof value === 'object' && value !== null && 'aborted' in value;
}

/** As Node reads a backlog and tells a port from a path. */
function toNumber(value: unknown): number | undefined {
  const number = typeof value === 'function' ? Number.NaN : Number(value);
  return value !== undefined && number >= 0 ? number : undefined;
}
