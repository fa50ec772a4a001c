/** The sockets of `--port` and `--path`: opened once, listening and blocking, passed to every worker. */
import { spawnSync } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { lstatSync, statSync, unlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import type { Engine, ListenResult, ListenSpec } from '../engine/engine';
import { MAX_UNIX_PATH_BYTES } from '../options/address';
import { StarterExit, starterExit } from './exit';
import { starterLines } from './log-lines';
import { type PortSpec, placeSockets, portKeys } from './ports';
import { fileError, systemError } from './system-errors';

/** Linux's SOMAXCONN; the kernel takes net.core.somaxconn where that is less. */
const SOMAXCONN = 4096;
/** Everybody may connect, as with Server::Starter. */
const SOCKET_FILE_MODE = 0o777;

export interface StarterSocket {
  /** in SERVER_STARTER_PORT */
  readonly key: string;
  /** descriptor here */
  readonly source: number;
  /** descriptor in the workers */
  readonly fd: number;
  /** the socket file that was made, to be removed if it is still that one */
  readonly file: { readonly path: string; readonly dev: number; readonly ino: number } | null;
}

interface Wanted {
  readonly ports: readonly PortSpec[];
  readonly paths: readonly string[];
  readonly backlog: number | null;
}

type Opened = Pick<StarterSocket, 'source' | 'file'>;

/**
 * Opens them in order.
 * @throws StarterExit 255 for a host without an address, else the errno of the call that failed
 */
export async function openSockets(
  engine: Engine,
  wanted: Wanted,
  say: (line: string) => void,
): Promise<StarterSocket[]> {
  const fds = placeSockets([...wanted.ports.map(({ fd }) => fd), ...wanted.paths.map(() => null)]);
  const keys = [...portKeys(wanted.ports), ...wanted.paths];
  const backlog = wanted.backlog ?? SOMAXCONN;
  const opened: Opened[] = [];
  try {
    for (const port of wanted.ports) opened.push(await openPort(engine, port, backlog, say));
    for (const path of wanted.paths) opened.push(await openPath(engine, path, backlog, say));
    const sources = opened.map(({ source }) => source);
    const streams = sources.filter((_, index) => wanted.ports[index]?.kind !== 'udp');
    if (engine.name === 'js') startListening(streams, backlog);
    makeBlocking(sources);
  } catch (error) {
    removeFiles(opened);
    throw error;
  }
  return opened.map((socket, index) => ({ ...socket, key: keys[index] as string, fd: fds[index] as number }));
}

/** Removes the socket files that are still those that were made. */
export function removeFiles(sockets: readonly Opened[]): void {
  for (const { file } of sockets) {
    if (file === null) continue;
    const now = lstatSync(file.path, { throwIfNoEntry: false });
    if (now?.isSocket() && now.dev === file.dev && now.ino === file.ino) unlinkSync(file.path);
  }
}

async function openPort(
  engine: Engine,
  port: PortSpec,
  backlog: number,
  say: (line: string) => void,
): Promise<Opened> {
  if (port.kind === 'udp' && !engine.capabilities.udp) {
    throw new StarterExit(starterExit.unusable, `--port=u${port.name} needs the addon, which did not load`);
  }
  const address = await resolveHost(port.host);
  const spec: ListenSpec = {
    kind: port.kind,
    address,
    port: port.port,
    backlog,
    reusePort: false,
    ipv6Only: isIP(address) === 6,
  };
  const source = descriptor(await engine.listen(spec), `failed to bind to ${port.name}:`);
  if (port.fd !== null) say(starterLines.duplicated(port.fd));
  return { source, file: null };
}

async function resolveHost(host: string | null): Promise<string> {
  if (host === null) return '0.0.0.0';
  if (isIP(host) > 0) return host;
  // IPv4 first: where a name has both, that is what Server::Starter binds.
  for (const family of host === '' ? [] : [4, 6]) {
    const found = await lookup(host, { family }).catch(() => null);
    if (found !== null) return found.address;
  }
  throw new StarterExit(starterExit.unusable, `failed to resolve host:${host}:`);
}

async function openPath(
  engine: Engine,
  path: string,
  backlog: number,
  say: (line: string) => void,
): Promise<Opened> {
  checkPath(path);
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
    say(starterLines.removingSocketFile(path));
    unlinkSync(path);
  }
  const spec: ListenSpec = {
    kind: 'unix',
    address: path,
    port: 0,
    backlog,
    reusePort: false,
    ipv6Only: false,
    mode: SOCKET_FILE_MODE,
  };
  const source = descriptor(await engine.listen(spec), `failed to listen to file ${path}:`);
  const { dev, ino } = lstatSync(path);
  return { source, file: { path, dev, ino } };
}

/** What bind(2) would say, and libuv calls something else or lets pass. */
function checkPath(path: string): void {
  const what = `failed to listen to file ${path}:`;
  if (Buffer.byteLength(path) > MAX_UNIX_PATH_BYTES) throw systemError('ENAMETOOLONG', what);
  try {
    if (!statSync(dirname(path)).isDirectory()) throw systemError('ENOTDIR', what);
  } catch (error) {
    throw fileError(error, what);
  }
}

function descriptor(result: ListenResult, what: string): number {
  if ('listener' in result) return result.listener.fd;
  // The file in the way is no socket: bind(2) would have said that the address is in use.
  throw systemError(result.code === 'ENOTSOCK' ? 'EADDRINUSE' : result.code, what);
}

/**
 * listen(2) in a Node.js process of its own, since libuv cannot do it here without accepting connections as well.
 * It ends before its event loop turns, so that it accepts none.
 */
function startListening(sources: readonly number[], backlog: number): void {
  if (sources.length === 0) return;
  const script = `const { createServer } = require('node:net');
    for (let fd = 3; fd < ${3 + sources.length}; fd++)
      createServer().on('error', (error) => { throw error; }).listen({ fd }, ${backlog});
    process.exit();`;
  const { PATH } = process.env;
  const result = spawnSync(process.execPath, ['-e', script], {
    stdio: ['ignore', 'ignore', 'pipe', ...sources],
    env: { PATH },
  });
  if (result.status === 0) return;
  const why = result.error?.message ?? String(result.stderr).trim();
  throw new StarterExit(starterExit.unusable, `cannot listen on the sockets: ${why}`);
}

/**
 * Workers in other languages expect accept(2) to wait. O_NONBLOCK belongs to the open socket, whoever holds it, and
 * libuv clears it on descriptors 0 to 2 of its children.
 */
function makeBlocking(sources: readonly number[]): void {
  for (let index = 0; index < sources.length; index += 3) {
    const stdio: ('ignore' | number)[] = ['ignore', 'ignore', 'ignore'];
    for (const [at, fd] of sources.slice(index, index + 3).entries()) stdio[at] = fd;
    const { error } = spawnSync('/bin/sh', ['-c', ':'], { stdio });
    if (error)
      throw new StarterExit(starterExit.unusable, `cannot make the sockets blocking: ${error.message}`);
  }
}
