/** `--port` and `--path` as written, and the names by which workers know the sockets. Pure. */
import { MAX_FD, MAX_PORT } from '../options/address';
import { StarterExit, starterExit } from './exit';

/** One `--port`. */
export interface PortSpec {
  readonly kind: 'tcp' | 'udp';
  /** null: every IPv4 address */
  readonly host: string | null;
  readonly port: number;
  /** descriptor number in the workers; null: any */
  readonly fd: number | null;
  /** `8080`, `127.0.0.1:8080`, `[::1]:8080`: its key in SERVER_STARTER_PORT, and what messages call it */
  readonly name: string;
}

/**
 * Reads `[host:][u]port[=fd]`; an IPv6 host with or without brackets.
 * @throws StarterExit 255 where it is none, or the port is above 65535
 */
export function parsePort(text: string): PortSpec {
  const match = /^\s*(?:(.*):)?(u?)([0-9]+)(?:=([0-9]+))?\s*$/s.exec(text);
  const port = Number(match?.[3]);
  const fd = match?.[4] === undefined ? null : Number(match[4]);
  if (!match || port > MAX_PORT || (fd !== null && fd > MAX_FD)) {
    throw new StarterExit(starterExit.unusable, `invalid \`\`port'' value:${text}`);
  }
  const host = match[1] === undefined ? null : match[1].replace(/^\[(.*)\]$/s, '$1');
  const shown = host?.includes(':') ? `[${host}]` : host;
  const name = shown === null || shown === undefined ? `${match[3]}` : `${shown}:${match[3]}`;
  return { kind: match[2] === 'u' ? 'udp' : 'tcp', host, port, fd, name };
}

/**
 * Keys for SERVER_STARTER_PORT. A UDP port is called as a TCP port is; only where both have the same name
 * is the UDP one `u…`, so that neither is lost.
 */
export function portKeys(specs: readonly PortSpec[]): string[] {
  const tcp = new Set(specs.filter(({ kind }) => kind === 'tcp').map(({ name }) => name));
  return specs.map(({ kind, name }) => (kind === 'udp' && tcp.has(name) ? withU(name) : name));
}

const withU = (name: string): string => name.replace(/([0-9]+)$/, 'u$1');

/**
 * A descriptor number in the worker for each socket: the one asked for, else the lowest from 3 on that is free.
 * @throws StarterExit 255 where two ask for the same
 */
export function placeSockets(wanted: readonly (number | null)[]): number[] {
  const taken = new Set<number>();
  for (const fd of wanted) {
    if (fd === null) continue;
    if (taken.has(fd))
      throw new StarterExit(starterExit.unusable, `two sockets cannot both be descriptor ${fd}`);
    taken.add(fd);
  }
  let next = 3;
  return wanted.map((fd) => {
    if (fd !== null) return fd;
    while (taken.has(next)) next++;
    return next++;
  });
}
