/** Sockets inherited from whatever started this process: Server::Starter, systemd and its kin, Einhorn, or prefork. */

/** A descriptor to listen on or read from: `server.listen({ fd })`. */
export interface InheritedListener {
  readonly fd: number;
  /** the address (Server::Starter), the name (systemd: 'unknown' where it has none), '' (Einhorn) */
  readonly name: string;
  readonly from: 'server-starter' | 'systemd' | 'einhorn';
}

const FIRST_FD = 3;
/** Who passes sockets passes a handful; a mistake must not keep this process busy. */
const MAX_SOCKETS = 1024;

/**
 * The sockets in `SERVER_STARTER_PORT`, as server_ports() of Server::Starter gives them: `{ '127.0.0.1:8080': 3, '/run/app.sock': 4 }`.
 * Empty where the variable is missing or empty.
 */
export function serverPorts(env: NodeJS.ProcessEnv = process.env): Record<string, number> {
  const ports: [string, number][] = [];
  for (const item of (env.SERVER_STARTER_PORT ?? '').split(';')) {
    const at = item.lastIndexOf('=');
    const fd = descriptor(item.slice(at + 1));
    if (at > 0 && fd !== undefined) ports.push([item.slice(0, at), fd]);
  }
  return Object.fromEntries(ports);
}

/**
 * Every inherited socket, each descriptor once: from `SERVER_STARTER_PORT`; from `LISTEN_FDS` and `LISTEN_FDNAMES`
 * (sd_listen_fds(3); where `LISTEN_PID` names another process they are not ours); from `EINHORN_FD_COUNT` and `EINHORN_FD_n`, or
 * `EINHORN_FDS` of older Einhorns (where `EINHORN_MASTER_PID` is not our parent they are not ours). Empty in a plain process; a count
 * above 1024 is taken for none.
 */
export function listeners(env: NodeJS.ProcessEnv = process.env): InheritedListener[] {
  const all = new Map<number, InheritedListener>();
  for (const sockets of [fromServerStarter(env), fromSystemd(env), fromEinhorn(env)]) {
    for (const socket of sockets) if (!all.has(socket.fd)) all.set(socket.fd, socket);
  }
  return [...all.values()];
}

function fromServerStarter(env: NodeJS.ProcessEnv): InheritedListener[] {
  return Object.entries(serverPorts(env)).map(([name, fd]) => ({ fd, name, from: 'server-starter' }));
}

function fromSystemd(env: NodeJS.ProcessEnv): InheritedListener[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  if (LISTEN_PID !== undefined && LISTEN_PID !== String(process.pid)) return [];
  const count = countOf(LISTEN_FDS) ?? 0;
  const names = LISTEN_FDNAMES?.split(':') ?? [];
  return Array.from({ length: count }, (_, i) => ({
    fd: FIRST_FD + i,
    name: names[i] || 'unknown',
    from: 'systemd',
  }));
}

function fromEinhorn(env: NodeJS.ProcessEnv): InheritedListener[] {
  const { EINHORN_MASTER_PID, EINHORN_FD_COUNT, EINHORN_FDS } = env;
  if (EINHORN_MASTER_PID !== undefined && EINHORN_MASTER_PID !== String(process.ppid)) return [];
  const count = countOf(EINHORN_FD_COUNT);
  const words =
    count === undefined
      ? (EINHORN_FDS ?? '').split(/\s+/)
      : Array.from({ length: count }, (_, i) => env[`EINHORN_FD_${i}`] ?? '');
  const fds = words.map(descriptor).filter((fd) => fd !== undefined);
  return fds.map((fd) => ({ fd, name: '', from: 'einhorn' }));
}

function countOf(text = ''): number | undefined {
  return /^\d{1,4}$/.test(text) && Number(text) <= MAX_SOCKETS ? Number(text) : undefined;
}

/** Decimal, at most 2^20 (the kernel's limit of descriptors). */
function descriptor(text: string): number | undefined {
  return /^\d{1,7}$/.test(text) && Number(text) <= 1_048_576 ? Number(text) : undefined;
}
