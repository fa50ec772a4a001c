/** The addresses of `--bind`: opened by the manager, or passed to it by its parent. */
import { loadBinding } from '../engine/binding';
import type { Engine, EngineListener } from '../engine/engine';
import { errnoCode, errnoText } from '../engine/errno';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { preforkError } from '../errors';
import type { Address } from '../options/address';
import { formatSocketAddress, resolveAddress } from './addresses';
import type { Listeners } from './listeners';

/** Where a parent puts the first socket that it passes; sd_listen_fds(3). */
const LISTEN_FDS_START = 3;
/** A service manager passes a handful; a mistake must not keep this process busy. */
const MAX_INHERITED = 1024;

/**
 * Opens what --bind names, unless it is open already. Resolves to the keys of the listeners, which a worker must listen on.
 * @throws PreforkError ERR_PREFORK_LISTEN
 */
export async function openBinds(
  engine: Engine,
  listeners: Listeners,
  bind: readonly Address[],
): Promise<string[]> {
  const keys: string[] = [];
  for (const address of bind) {
    if (address.kind === 'fd') keys.push(adopt(engine, listeners, { fd: address.fd, name: null }));
    else if (address.kind === 'systemd') {
      for (const socket of passedSockets()) keys.push(adopt(engine, listeners, socket));
    } else keys.push(await open(listeners, address));
  }
  return keys;
}

type Opened = Extract<Address, { kind: 'tcp' | 'udp' | 'unix' }>;

async function open(listeners: Listeners, address: Opened): Promise<string> {
  const at = await resolveAddress(address).catch((cause: NodeJS.ErrnoException) => {
    const name = address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
    throw listenError(name, cause.code ?? 'ENOTFOUND', '', cause);
  });
  const result = await listeners.open(at, { fromBind: true });
  if ('code' in result) throw listenError(formatSocketAddress(at), result.code, advice(result.code));
  return result.listener.key;
}

interface PassedSocket {
  readonly fd: number;
  /** of LISTEN_FDNAMES; null: none */
  readonly name: string | null;
}

/** What systemd, or another parent that follows its protocol, has passed to this very process. */
export function passedSockets(env: NodeJS.ProcessEnv = process.env): PassedSocket[] {
  const { LISTEN_FDS: fds, LISTEN_PID: pid, LISTEN_FDNAMES: names } = env;
  const refuse = (problem: string): Error => listenError('systemd', 'ENOENT', problem);
  if (fds === undefined) throw refuse('no sockets were passed: LISTEN_FDS is not set');
  // A process in between may have had them; then they are somebody else's, or closed.
  if (pid !== String(process.pid)) {
    throw refuse(`the sockets were passed to process ${pid ?? '(LISTEN_PID is not set)'}, not to this one`);
  }
  const count = /^\d{1,4}$/.test(fds) ? Number(fds) : 0;
  if (count < 1 || count > MAX_INHERITED) throw refuse(`LISTEN_FDS is ${fds}`);
  const name = names?.split(':') ?? [];
  return Array.from({ length: count }, (_, index) => ({
    fd: LISTEN_FDS_START + index,
    name: name[index] || null,
  }));
}

function adopt(engine: Engine, listeners: Listeners, { fd, name }: PassedSocket): string {
  const known = listeners.all().find(({ sockets }) => [...sockets.values()].some((each) => each.fd === fd));
  if (known !== undefined) return known.key;
  const result = engine instanceof JsEngine ? adoptTcp(engine, fd) : adoptAny(engine, fd);
  if ('code' in result) throw listenError(`fd:${fd}`, result.code, result.hint);
  const { kind, socket } = result;
  const at = { kind, address: socket.address, port: socket.port };
  if (listeners.get(formatSocketAddress(at))) {
    throw listenError(formatSocketAddress(at), 'EADDRINUSE', `fd:${fd} is a second socket for this address`);
  }
  return listeners.adopt(at, socket, { fromBind: true, name }).key;
}

type Adopted =
  | { readonly kind: 'tcp' | 'udp' | 'unix'; readonly socket: EngineListener }
  | { readonly code: string; readonly hint: string };

function adoptAny(engine: Engine, fd: number): Adopted {
  const name = loadBinding().binding?.sockname(fd);
  const result = engine instanceof NativeEngine ? engine.adoptListener(fd) : null;
  if (result === null || 'code' in result || typeof name !== 'object') {
    const code = typeof name === 'number' ? errnoCode(name) : 'EBADF';
    return { code, hint: 'it is no socket' };
  }
  const kind = name.family === 'unix' ? 'unix' : name.type === 'dgram' ? 'udp' : 'tcp';
  if (kind !== 'udp' && !name.listening) return { code: 'EINVAL', hint: 'it does not listen' };
  return { kind, socket: result.listener };
}

function adoptTcp(engine: JsEngine, fd: number): Adopted {
  const result = engine.adoptListener(fd);
  if ('code' in result) return { code: result.code, hint: 'the js engine takes over TCP sockets only' };
  return { kind: 'tcp', socket: result.listener };
}

function listenError(address: string, code: string, hint: string, cause?: unknown): Error {
  return preforkError('ERR_PREFORK_LISTEN', { address, code, advice: hint }, cause);
}

function advice(code: string): string {
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another process listens there; `ss -ltnp` shows which',
    EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE',
    EADDRNOTAVAIL: 'this machine does not have that address',
    ENOTSOCK: 'a file that is no socket is in the way',
    EEXIST: 'a file that is no socket is in the way',
  };
  return hints[code] ?? errnoText(code);
}
