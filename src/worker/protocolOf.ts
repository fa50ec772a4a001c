/** What a server speaks, told by what it can do: its modules need not be loaded to ask. */
import type { Server } from 'node:net';

export type Protocol = 'http' | 'https' | 'http2' | 'tcp';

interface Traits {
  setSecureContext?: unknown;
  closeIdleConnections?: unknown;
  updateSettings?: unknown;
}

export function isTls(server: Server): boolean {
  return typeof (server as Traits).setSecureContext === 'function';
}

export function protocolOf(server: Server): Protocol {
  const traits = server as Traits;
  if (typeof traits.updateSettings === 'function') return 'http2';
  if (typeof traits.closeIdleConnections !== 'function') return 'tcp';
  return isTls(server) ? 'https' : 'http';
}
