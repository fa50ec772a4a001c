/** Addresses to listen on, as given to `--bind`. Pure: names are looked up, and paths made absolute, by others. */
import { isIPv4, isIPv6 } from 'node:net';
import { type Parsed, parsed, refused } from './result';

export type Address =
  /** `host`: a numeric address, a name to look up, or null for every address of the machine (`::` where there is IPv6) */
  | { readonly kind: 'tcp'; readonly host: string | null; readonly port: number }
  | { readonly kind: 'udp'; readonly host: string | null; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  /** an open socket that the manager inherited */
  | { readonly kind: 'fd'; readonly fd: number }
  /** the sockets that systemd passed (LISTEN_FDS) */
  | { readonly kind: 'systemd' };

/** One that the manager can serve at itself. */
export type Endpoint = Extract<Address, { kind: 'tcp' | 'unix' }>;

/** TCP and UDP ports; 0 is any free one. */
export const MAX_PORT = 65_535;
/** Longest path of a Unix socket in bytes: `sun_path` without its final NUL, unix(7). */
export const MAX_UNIX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;
/** The kernel's default for fs.nr_open: no descriptor is higher. */
export const MAX_FD = 1_048_576;
/** Longest host name, RFC 1123. */
const MAX_HOST_CHARS = 253;

/** How addresses are written, for help and errors. */
export const ADDRESS_FORMS =
  '8080, 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/run/app.sock, udp:127.0.0.1:53, fd:3 or systemd';

/** Reads one address. Never throws; a refusal says what is wrong in one line. */
export function parseAddress(text: string): Parsed<Address> {
  const input = text.trim();
  if (input === 'systemd') {
    return parsed({ kind: 'systemd' });
  }
  const [, scheme, rest] = /^(unix|fd|udp|tcp):(.*)$/s.exec(input) ?? [];
  if (scheme === 'unix') {
    return parseUnixPath(rest!);
  }
  if (scheme === 'fd') {
    const fd = parseWhole(rest!, MAX_FD);
    return fd === null ? refused(`names no descriptor from 0 to ${MAX_FD}`) : parsed({ kind: 'fd', fd });
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(input)) {
    return refused('is a URL, not host:port');
  }
  if (input.startsWith('/') || input.startsWith('.')) {
    return refused('is a path without unix: before it');
  }
  return parseHostPort(scheme === 'udp' ? 'udp' : 'tcp', rest ?? input);
}

/** The text that {@link parseAddress} reads back as `address`. */
export function formatAddress(address: Address): string {
  switch (address.kind) {
    case 'systemd':
      return 'systemd';
    case 'fd':
      return `fd:${address.fd}`;
    case 'unix':
      return `unix:${address.path}`;
    default: {
      const scheme = address.kind === 'udp' ? 'udp:' : '';
      const host = address.host?.includes(':') ? `[${address.host}]` : address.host;
      return host === null ? `${scheme}${address.port}` : `${scheme}${host}:${address.port}`;
    }
  }
}

/** Why a Unix socket cannot have this path (to follow the path), or null. */
export function unixPathProblem(path: string): string | null {
  if (path === '') {
    return 'has no path';
  }
  if (path.startsWith('@') || path.includes('\0')) {
    return 'names an abstract socket, which is not supported';
  }
  const bytes = Buffer.byteLength(path);
  return bytes > MAX_UNIX_PATH_BYTES
    ? `has a socket path of ${bytes} bytes, and the system allows ${MAX_UNIX_PATH_BYTES}`
    : null;
}

function parseUnixPath(path: string): Parsed<Address> {
  const problem = unixPathProblem(path);
  return problem === null ? parsed({ kind: 'unix', path }) : refused(problem);
}

function parseHostPort(kind: 'tcp' | 'udp', text: string): Parsed<Address> {
  const match = /^(?:\[([^[\]]*)\]:|([^:[\]]*):)?([^:[\]]+)$/.exec(text);
  if (!match) {
    return refused(
      isIPv6(text) || text.split(':').length > 2 ? 'has an IPv6 address without brackets' : 'has no port',
    );
  }
  const [, v6, host, portText] = match;
  const port = parseWhole(portText!, MAX_PORT);
  if (port === null) {
    return refused(
      v6 === undefined && host === undefined && !/^\d+$/.test(portText!)
        ? 'has no port'
        : `has a port that is no number from 0 to ${MAX_PORT}`,
    );
  }
  if (v6 !== undefined) {
    return isIPv6(v6)
      ? parsed({ kind, host: v6, port })
      : refused('has brackets around what is no IPv6 address');
  }
  if (host === undefined || host === '' || host === '*') {
    return parsed({ kind, host: null, port });
  }
  return isIPv4(host) || isHostName(host)
    ? parsed({ kind, host, port })
    : refused('has a host that is neither an IPv4 address nor a name');
}

/** RFC 1123, with the underscore that container networks use. A last label of digits alone would be a mistyped address. */
function isHostName(host: string): boolean {
  const labels = host.split('.');
  return (
    host.length <= MAX_HOST_CHARS &&
    labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label)) &&
    !/^\d+$/.test(labels.at(-1)!)
  );
}

function parseWhole(text: string, max: number): number | null {
  return /^\d{1,9}$/.test(text) && Number(text) <= max ? Number(text) : null;
}
