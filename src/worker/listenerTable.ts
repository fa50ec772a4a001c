/** Which of the manager's listeners a listen() or bind() of the program means. */
import { isIPv6, SocketAddress } from 'node:net';
import { resolve } from 'node:path';
import type { NetHandle } from './channel';
import type { BootListener } from './protocol';

/** What the program asks for. */
export interface Wanted {
  readonly kind: 'tcp' | 'udp' | 'unix';
  /** numeric address or path; null: every address (no host was named) */
  readonly address: string | null;
  /** 0 for any, and for a path */
  readonly port: number;
  readonly family?: 'IPv4' | 'IPv6';
}

export interface Listener {
  readonly key: string;
  readonly kind: 'tcp' | 'udp' | 'unix';
  readonly address: string;
  readonly port: number;
  readonly boundPort: number;
  readonly fromBind: boolean;
  /** undefined once a server had it and closed it: the manager gives it again */
  socket: { readonly fd: number } | NetHandle | undefined;
  /** the server or socket that has it, and the address that it asked for */
  owner: object | undefined;
  ownerAddress: string | null;
}

/** `taken`: the program itself has it already. `unknown`: the manager has to be asked. */
export type Found = readonly Listener[] | 'taken' | 'unknown';

export class ListenerTable {
  readonly #listeners: Listener[];

  constructor(boot: readonly BootListener[]) {
    this.#listeners = boot.map(({ fd, ...facts }) => ({
      ...facts,
      socket: { fd },
      owner: undefined,
      ownerAddress: null,
    }));
  }

  /**
   * The same address wins. Otherwise the operator does: whatever host the program names, it gets what --bind opened on that
   * port, all of it that is free.
   */
  find(wanted: Wanted): Found {
    const onPort = this.#listeners.filter(
      (l) => l.kind === wanted.kind && samePort(l, wanted) && sameFamily(l, wanted),
    );
    const exact = onPort.filter((l) => sameAddress(l, wanted));
    const anyPort = wanted.kind !== 'unix' && wanted.port === 0;
    if (exact.length > 0 && wanted.address !== null) return free(exact) ?? (anyPort ? 'unknown' : 'taken');
    const fitting = wanted.kind === 'unix' ? exact : onPort.filter((l) => l.fromBind || exact.includes(l));
    const fits = free(fitting);
    if (fits !== undefined) return fits;
    return !anyPort && fitting.some((l) => l.ownerAddress === wanted.address) ? 'taken' : 'unknown';
  }

  all(): readonly Listener[] {
    return this.#listeners;
  }

  byKey(key: string): Listener | undefined {
    return this.#listeners.find((l) => l.key === key);
  }

  byFd(fd: number): Listener | undefined {
    return this.#listeners.find((l) => l.socket !== undefined && l.socket.fd === fd && l.owner === undefined);
  }

  add(listener: Listener): void {
    this.#listeners.push(listener);
  }

  take(listener: Listener, owner: object, wanted: Wanted): void {
    listener.owner = owner;
    listener.ownerAddress = wanted.address;
  }

  /** The owner has closed: its descriptors are gone. */
  release(owner: object): readonly Listener[] {
    const released = this.ownedBy(owner);
    for (const listener of released) {
      listener.owner = undefined;
      listener.ownerAddress = null;
      listener.socket = undefined;
    }
    return released;
  }

  ownedBy(owner: object): readonly Listener[] {
    return this.#listeners.filter((l) => l.owner === owner);
  }
}

function free(listeners: readonly Listener[]): readonly Listener[] | undefined {
  const unowned = listeners.filter((l) => l.owner === undefined);
  return unowned.length > 0 ? unowned : undefined;
}

/** A port that the system chose for an earlier listen(0) belongs to its call site: only the manager knows that. */
function samePort(listener: Listener, wanted: Wanted): boolean {
  if (wanted.kind === 'unix') return true;
  if (wanted.port === 0) return listener.port === 0 && listener.fromBind;
  return listener.port === wanted.port || listener.boundPort === wanted.port;
}

function sameFamily(listener: Listener, wanted: Wanted): boolean {
  if (wanted.family === undefined) return true;
  return isIPv6(listener.address) === (wanted.family === 'IPv6');
}

function sameAddress(listener: Listener, wanted: Wanted): boolean {
  if (wanted.address === null) return listener.address === '::' || listener.address === '0.0.0.0';
  return normal(listener.kind, listener.address) === normal(wanted.kind, wanted.address);
}

function normal(kind: string, address: string): string {
  if (kind === 'unix') return address.startsWith('\0') ? address : resolve(address);
  return isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}
