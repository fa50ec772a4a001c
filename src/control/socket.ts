/** The file of the control socket: made with mode 0600, never in the place of something that is not ours to replace. */
import { once } from 'node:events';
import { lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import type { Binding } from '../engine/binding';
import { errnoCode } from '../engine/errno';

/** Only the manager's user, and root, may connect. */
const MODE = 0o600;
/** Clients that wait to be accepted. */
const BACKLOG = 16;

/** What a successor in the same process needs of it. */
export interface SocketHandover {
  readonly path: string;
  readonly fd: number;
  readonly dev: number;
  readonly ino: number;
}

export interface ControlSocket {
  /** null: it cannot be handed over */
  readonly handover: SocketHandover | null;
  /** Closes it and removes its file, if that is still the one that was made. */
  close(): void;
}

/**
 * Lets `server` listen at `path`; a file left by a manager that is gone is replaced. With the addon the mode is set on the
 * socket before it has a name; without, by the umask of the moment.
 * @throws an error with the code EADDRINUSE where somebody serves there, ENOTSOCK where the file is no socket, and the system's otherwise
 */
export async function listenAt(
  server: Server,
  path: string,
  binding: Binding | null,
  mode: number = MODE,
): Promise<ControlSocket> {
  if (binding === null) {
    await listenByName(server, path, mode);
    const { dev, ino } = lstatSync(path);
    return { handover: null, close: () => close(server, { path, dev, ino }) };
  }
  const fd = makeSocket(path, binding, mode);
  const { dev, ino } = lstatSync(path);
  return resumeAt(server, { path, fd, dev, ino });
}

/** Goes on where the manager that this process was before listened. */
export function resumeAt(server: Server, handover: SocketHandover): ControlSocket {
  server.listen({ fd: handover.fd, backlog: BACKLOG });
  return { handover, close: () => close(server, handover) };
}

function close(server: Server, { path, dev, ino }: Omit<SocketHandover, 'fd'>): void {
  server.close();
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.isSocket() && now.dev === dev && now.ino === ino) unlinkSync(path);
}

function makeSocket(path: string, binding: Binding, mode: number): number {
  const fd = binding.listen({
    kind: 'unix',
    address: path,
    port: 0,
    backlog: BACKLOG,
    reusePort: false,
    ipv6Only: false,
    mode,
  });
  if (fd < 0) throw systemError(errnoCode(fd), path);
  return fd;
}

async function listenByName(server: Server, path: string, mode: number): Promise<void> {
  try {
    await bindAndListen(server, path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    await removeStale(path);
    await bindAndListen(server, path, mode);
  }
}

/** listen() binds before it returns, so that the umask is this process's for no longer than that. */
async function bindAndListen(server: Server, path: string, mode: number): Promise<void> {
  const umask = process.umask(0o777 & ~mode);
  try {
    server.listen({ path, backlog: BACKLOG });
  } finally {
    process.umask(umask);
  }
  await once(server, 'listening');
}

/** Throws where the file is not that of a manager that is gone. */
async function removeStale(path: string): Promise<void> {
  const before = lstatSync(path, { throwIfNoEntry: false });
  if (before === undefined) return;
  if (!before.isSocket()) throw systemError('ENOTSOCK', path);
  if (await isServed(path)) throw systemError('EADDRINUSE', path);
  const now = lstatSync(path, { throwIfNoEntry: false });
  // Another one that starts was faster.
  if (now && (now.ino !== before.ino || now.ctimeMs !== before.ctimeMs))
    throw systemError('EADDRINUSE', path);
  unlinkSync(path);
}

async function isServed(path: string): Promise<boolean> {
  const probe = connect(path);
  try {
    await once(probe, 'connect');
    return true;
  } catch (error) {
    return !['ECONNREFUSED', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');
  } finally {
    probe.destroy();
  }
}

function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}
