/** What `start_server` says, line by line: others parse it, so that every line is as Server::Starter 0.35 writes it. */
import type { Signal } from '../engine/engine';

/** TERM for SIGTERM. */
const short = (signal: Signal): string => signal.replace(/^SIG/, '');

const pidList = (pids: readonly number[]): string => pids.join(',');

export const starterLines = {
  startingNow: (pid: number) => `start_server (pid:${pid}) starting now...`,
  stoppingNow: (pid: number, target: number) => `stop_server (pid:${pid}) stopping now (pid:${target})...`,
  duplicated: (fd: number) => `socket is duplicated to file descriptor ${fd}`,
  removingSocketFile: (path: string) => `removing existing socket file:${path}`,
  startingWorker: (pid: number) => `starting new worker ${pid}`,
  /** `status` is the raw wait status, here and below */
  failedToStart: (pid: number, status: number) =>
    `new worker ${pid} seems to have failed to start, exit status:${status}`,
  diedUnexpectedly: (pid: number, status: number) =>
    `worker ${pid} died unexpectedly with status:${status}, restarting`,
  oldWorkerDied: (pid: number, status: number) => `old worker ${pid} died, status:${status}`,
  workerDied: (pid: number, status: number) => `worker ${pid} died, status:${status}`,
  receivedHup: () => 'received HUP, spawning a new worker',
  autoRestart: (seconds: number, forced: boolean) =>
    `autorestart triggered (${forced ? 'forced, ' : ''}interval=${seconds})`,
  newWorkerRuns: (signal: Signal, old: readonly number[]) =>
    `new worker is now running, sending ${short(signal)} to old workers:${old.length > 0 ? pidList(old) : 'none'}`,
  sleeping: (seconds: number) => `sleeping ${seconds} secs before killing old workers`,
  killingOld: () => 'killing old workers',
  stopping: (received: Signal, sent: Signal, workers: readonly number[]) =>
    `received ${short(received)}, sending ${short(sent)} to all workers:${pidList(workers)}`,
  exiting: () => 'exiting',
  // Ours: what the original has no words for.
  forkFailed: (code: string, seconds: number) =>
    `cannot start a worker (${code}), trying again in ${seconds} secs`,
  killed: (pid: number) => `worker ${pid} did not end in time, sending KILL`,
} as const;
