/** What waits to be accepted, and what was dropped, as the kernel tells it in /proc/net: Linux, TCP. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import type { Listener } from '../manager/listeners';

/** Listening sockets come first in /proc/net/tcp, about 150 bytes each; what comes after may be a hundred thousand connections. */
const MAX_TABLE_BYTES = 262_144;
const LISTEN = '0A';

export interface Drops {
  readonly overflows: number;
  readonly drops: number;
}

/** Listener's key → connections in its accept queue; without those that the kernel does not tell of. */
export function queueLengths(listeners: readonly Listener[]): Map<string, number> {
  const byInode = new Map<string, number>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) parseTable(head(file), byInode);
  const lengths = new Map<string, number>();
  for (const { key, kind, sockets } of listeners) {
    if (kind !== 'tcp') continue;
    const known = [...sockets.values()].flatMap(({ fd }) => byInode.get(inodeOf(fd)) ?? []);
    if (known.length > 0)
      lengths.set(
        key,
        known.reduce((sum, length) => sum + length, 0),
      );
  }
  return lengths;
}

/** Lines of proc_net_tcp: a listening socket's receive queue is its accept queue. */
export function parseTable(text: string, byInode: Map<string, number>): void {
  for (const line of text.split('\n').slice(1)) {
    const [, , , state, queues, , , , , inode] = line.trim().split(/\s+/);
    if (inode === undefined) continue;
    if (state !== LISTEN) return;
    byInode.set(inode, Number.parseInt(queues!.split(':')[1]!, 16));
  }
}

/** Of all sockets of this network namespace; null: the system does not tell. */
export function drops(): Drops | null {
  try {
    return parseNetstat(readFileSync('/proc/net/netstat', 'latin1'));
  } catch {
    return null;
  }
}

export function parseNetstat(text: string): Drops | null {
  const [names, values] = text.split('\n').filter((line) => line.startsWith('TcpExt:'));
  const at = (name: string): number => {
    const index = names?.split(' ').indexOf(name) ?? -1;
    return index < 0 ? Number.NaN : Number(values?.split(' ')[index]);
  };
  const found = { overflows: at('ListenOverflows'), drops: at('ListenDrops') };
  return Number.isFinite(found.overflows + found.drops) ? found : null;
}

function head(file: string): string {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch {
    return '';
  }
  try {
    const bytes = Buffer.alloc(MAX_TABLE_BYTES);
    let length = 0;
    // The kernel gives a page or so at a time; once connections begin there is nothing more to find.
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(fd, bytes, length, Math.min(16_384, bytes.length - length), null);
      const lastLine = bytes.toString('latin1', Math.max(0, length + got - 160), length + got);
      if (/ 0[1-9B-F] [0-9A-F]{8}:/.test(lastLine)) {
        length += got;
        break;
      }
    }
    return bytes.toString('latin1', 0, length);
  } finally {
    closeSync(fd);
  }
}

function inodeOf(fd: number): string {
  try {
    return String(fstatSync(fd).ino);
  } catch {
    return '';
  }
}
