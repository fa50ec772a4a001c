/** Connecting: TCP or a Unix socket, and TLS over it. */
import * as net from 'node:net';
import * as tls from 'node:tls';
import { Failed, socketTrouble } from './failure';

export interface Target {
  readonly protocol: 'http' | 'https' | 'http2' | 'h2c';
  /** of the server, or `socketPath` */
  readonly port?: number;
  readonly host?: string;
  readonly socketPath?: string;
  /** name that the certificate must be for, and that TLS asks for; an address is not asked for */
  readonly servername?: string;
  /** certificates to trust besides or instead of the usual ones */
  readonly ca?: Buffer;
  /** any certificate will do */
  readonly insecure?: boolean;
  /** longest wait for the connection; ms */
  readonly timeoutMs?: number;
}

/** errno of what is no fault of the server */
const LOCAL = new Set(['EADDRNOTAVAIL', 'EMFILE', 'ENFILE', 'ENOBUFS']);

/** A connection that is up, with TLS where the protocol has it. Rejects with {@link Failed}. */
export function connect(target: Target): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const secure = target.protocol === 'https' || target.protocol === 'http2';
    const socket = secure ? connectTls(target) : net.connect({ ...place(target), noDelay: true });
    let isUp = false;
    const timer =
      target.timeoutMs === undefined
        ? undefined
        : setTimeout(() => fail('timeout', `no connection within ${target.timeoutMs} ms`), target.timeoutMs);
    const fail = (kind: Failed['kind'], detail: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new Failed(kind, detail));
    };
    socket.once('connect', () => {
      isUp = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (LOCAL.has(error.code ?? '')) fail('local', socketTrouble(error));
      else if (!isUp) fail('refused', error.message || socketTrouble(error));
      else if (error.code === 'ECONNRESET' || error.code === 'EPIPE') fail('reset', socketTrouble(error));
      else fail('tls', error.message);
    });
    socket.once('close', () => fail('refused', 'closed while connecting'));
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      const agreed = (socket as tls.TLSSocket).alpnProtocol;
      if (target.protocol === 'http2' && agreed !== 'h2') {
        fail('tls', `the server does not offer HTTP/2 (${agreed || 'no protocol'} agreed)`);
        return;
      }
      clearTimeout(timer);
      socket.removeAllListeners('error');
      socket.removeAllListeners('close');
      // Whoever uses the socket adds listeners at once; until then nothing is lost, and nothing thrown.
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}

function place(target: Target): { path: string } | { port: number; host: string } {
  return target.socketPath === undefined
    ? { port: target.port ?? 0, host: target.host ?? '127.0.0.1' }
    : { path: target.socketPath };
}

function connectTls(target: Target): tls.TLSSocket {
  const name = target.servername ?? 'localhost';
  return tls.connect({
    ...place(target),
    ...(target.ca && { ca: target.ca }),
    // An address is checked, but is no name to ask for (RFC 6066, 3).
    ...(net.isIP(name) === 0 && { servername: name }),
    rejectUnauthorized: target.insecure !== true,
    ALPNProtocols: target.protocol === 'http2' ? ['h2'] : ['http/1.1'],
  });
}
