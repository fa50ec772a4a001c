/** Puts the descriptors of a command where its environment says, as far as the forkserver has kept the numbers free. */
import type { Binding } from '../engine/binding';
import type { BootListener, WorkerBoot } from '../worker/protocol';

const FIRST_LISTEN_FD = 3;

/** Where each descriptor is now, by the number that the environment has for it. */
export type Moved = ReadonlyMap<number, number>;

/**
 * @param wanted numbers, one for each of `fds`
 * @param lastReserved numbers up to this one may be overwritten
 */
export function place(
  binding: Binding,
  fds: readonly number[],
  wanted: readonly number[],
  lastReserved: number,
): Moved {
  const moved = new Map<number, number>();
  // One that arrived on a reserved number would be overwritten by another.
  const clear = fds.map((fd) => (fd <= lastReserved ? moveUp(binding, fd, lastReserved) : fd));
  for (const [index, number] of wanted.entries()) {
    const fd = clear[index];
    if (fd === undefined) throw new Error(`descriptor ${number} of the worker did not come`);
    if (number > lastReserved) {
      moved.set(number, fd);
      continue;
    }
    binding.dup2(fd, number);
    binding.close(fd);
    // As an exec would leave it, so that the program's own children can have it; the worker's hook sees to its own.
    binding.clearCloexec(number);
  }
  // What the forkserver was given, but the worker is not.
  for (let fd = FIRST_LISTEN_FD; fd <= lastReserved; fd++) if (!wanted.includes(fd)) binding.close(fd);
  return moved;
}

function moveUp(binding: Binding, fd: number, above: number): number {
  const copy = binding.dup(fd, above + 1);
  if (copy < 0) throw new Error(`no descriptor is left: errno ${-copy}`);
  binding.close(fd);
  return copy;
}

/** The environment with the numbers where descriptors are now, and with the worker's own pid. */
export function settleEnvironment(
  env: Readonly<Record<string, string>>,
  moved: Moved,
): Record<string, string> {
  const settled: Record<string, string> = { ...env };
  const at = (number: number): number => moved.get(number) ?? number;
  if (env.PREFORK_WORKER !== undefined) settled.PREFORK_WORKER = settleBoot(env.PREFORK_WORKER, at);
  if (env.PREFORK_CHANNEL !== undefined) {
    settled.PREFORK_CHANNEL = env.PREFORK_CHANNEL.replace(/^fd:(\d+)$/, (_, fd) => `fd:${at(Number(fd))}`);
  }
  if (env.SERVER_STARTER_PORT !== undefined) {
    settled.SERVER_STARTER_PORT = env.SERVER_STARTER_PORT.replace(
      /=(\d+)(?=;|$)/g,
      (_, fd) => `=${at(Number(fd))}`,
    );
  }
  settleListenFds(settled, moved);
  return settled;
}

function settleBoot(json: string, at: (number: number) => number): string {
  const boot = JSON.parse(json) as WorkerBoot;
  const listeners = boot.listeners.map((listener): BootListener => ({ ...listener, fd: at(listener.fd) }));
  const { scoreboard } = boot;
  const row = scoreboard && { ...scoreboard, fd: scoreboard.fd === null ? null : at(scoreboard.fd) };
  return JSON.stringify({ ...boot, listeners, ...(row && { scoreboard: row }) } satisfies WorkerBoot);
}

/** They are in a row from 3, or not at all. */
function settleListenFds(env: Record<string, string>, moved: Moved): void {
  const count = Number(env.LISTEN_FDS ?? 0);
  const inPlace = Array.from({ length: count }, (_, i) => FIRST_LISTEN_FD + i).every((fd) => !moved.has(fd));
  if (inPlace) {
    if (env.LISTEN_PID === '') env.LISTEN_PID = String(process.pid);
    return;
  }
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) delete env[name];
}
