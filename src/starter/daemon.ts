/**
 * `--daemonize`: the sockets are opened, so that the terminal is told what goes wrong with them; then the same command is
 * started once more in a session of its own, and takes them over.
 */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import type { Binding } from '../engine/binding';
import { errnoCode } from '../engine/errno';
import type { StarterSocket } from './sockets';
import { systemError } from './system-errors';

const VARIABLE = 'PREFORK_STARTER_DAEMON';
/** Where the daemon finds what it takes over. */
const FIRST_FD = 3;

/** What the daemon is told by the process that started it. */
export interface Handover {
  readonly sockets: readonly StarterSocket[];
}

/** The handover to this process, if it is the daemon; taken out of the environment. */
export function takeHandover(): Handover | null {
  const text = process.env[VARIABLE];
  delete process.env[VARIABLE];
  return text === undefined ? null : (JSON.parse(text) as Handover);
}

/**
 * Starts the daemon, with `log` as its standard output and error.
 * @throws StarterExit, with the errno, where it cannot be started
 */
export function startDaemon(binding: Binding | null, sockets: readonly StarterSocket[], log: number): void {
  const handover: Handover = {
    sockets: sockets.map((socket, index) => ({ ...socket, source: FIRST_FD + index })),
  };
  const args = [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [VARIABLE]: JSON.stringify(handover) };
  const sources = sockets.map(({ source }) => source);
  if (binding === null) {
    // A shell leads the new session and is gone at once: the second of the two forks.
    const stdio: ('ignore' | number)[] = ['ignore', log, log, ...sources];
    const shell = ['-c', '"$@" &', 'sh', process.execPath, ...args];
    const options = { detached: true, env, stdio };
    const { error } = spawnSync('/bin/sh', shell, options as SpawnSyncOptions);
    if (error) throw systemError((error as NodeJS.ErrnoException).code ?? 'EIO', 'failed to daemonize:');
    return;
  }
  const result = binding.daemonize({
    file: process.execPath,
    args: [process.execPath, ...args],
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    stdio: [-1, log, log],
    fds: sources.map((fd, index) => [fd, FIRST_FD + index] as const),
  });
  if ('errno' in result) throw systemError(errnoCode(result.errno), `failed to daemonize:${result.step}:`);
}
