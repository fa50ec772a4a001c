/** Addresses as the manager opens them: numeric, with a key that manager and worker know them by. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Address } from '../options/address';

/** A socket to open. `address` is numeric or a path. */
export interface SocketAddress {
  readonly kind: 'tcp' | 'udp' | 'unix';
  readonly address: string;
  readonly port: number;
}

/** Every address of the machine. */
export const ANY_V6 = '::';
export const ANY_V4 = '0.0.0.0';

/** How an address is written: `[::]:8080`, `127.0.0.1:8080`, `udp:…`, `unix:/run/app.sock`. */
export function formatSocketAddress({ kind, address, port }: SocketAddress): string {
  if (kind === 'unix') return `unix:${address}`;
  const host = address.includes(':') ? `[${address}]` : address;
  return `${kind === 'udp' ? 'udp:' : ''}${host}:${port}`;
}

/** As SERVER_STARTER_PORT names it: a bare port where every address is meant. */
export function starterName({ kind, address, port }: SocketAddress): string {
  if (kind === 'unix') return address;
  if (address === ANY_V6 || address === ANY_V4) return String(port);
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** What people open in a browser, or the address where it is no TCP port. */
export function displayAddress(at: SocketAddress, scheme: string): string {
  if (at.kind !== 'tcp') return formatSocketAddress(at);
  const host = at.address === ANY_V6 || at.address === ANY_V4 ? 'localhost' : at.address;
  const shown = formatSocketAddress({ ...at, address: host });
  return scheme === 'tcp' ? shown : `${scheme}://${shown}`;
}

/** The numeric address of a `--bind`. Rejects with the error of getaddrinfo(3) where a name has none. */
export async function resolveAddress(
  address: Extract<Address, { kind: 'tcp' | 'udp' | 'unix' }>,
): Promise<SocketAddress> {
  if (address.kind === 'unix') return { kind: 'unix', address: address.path, port: 0 };
  const { kind, host, port } = address;
  if (host === null) return { kind, address: ANY_V6, port };
  const numeric = isIP(host) > 0 ? host : (await lookup(host)).address;
  return { kind, address: numeric, port };
}
