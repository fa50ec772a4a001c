/** Log entries of the core in words. */
import type { LogEntry } from '../core/command';
import { notListening } from '../core/ready';
import type { LeaveReason } from '../core/state';
import { decodeStatus, errnoText, UNKNOWN_STATUS } from '../engine/errno';

const reasons: Readonly<Record<LeaveReason, string>> = {
  stop: 'the service stops',
  rollout: 'a new generation serves',
  rollback: 'its generation failed',
  scale: 'fewer workers are wanted',
  retire: 'it is replaced',
  'ready-timeout': 'it did not become ready in time',
  hung: 'it hangs',
  self: 'it leaves by itself',
};

/** `exited with code 1`, `was killed by SIGKILL`. */
export function describeStatus(status: number): string {
  if (status === UNKNOWN_STATUS) return 'ended, nobody knows how,';
  const { exitCode, signal } = decodeStatus(status);
  if (signal !== null) return `was killed by ${signal}${(status & 0x80) !== 0 ? ' and dumped core' : ''}`;
  return exitCode === null ? `was killed by signal ${status & 0x7f}` : `exited with code ${exitCode}`;
}

const seconds = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const named = (pid: number | null): string => (pid === null ? 'a worker' : `worker ${pid}`);

/** The line for people; the entry's fields go beside it for machines. */
export function messageOf(entry: LogEntry): string {
  switch (entry.what) {
    case 'worker-spawned':
      return `${named(entry.pid)} started in slot ${entry.slot}, generation ${entry.generation}`;
    case 'worker-ready':
      return `${named(entry.pid)} is ready in slot ${entry.slot} after ${seconds(entry.afterMs)}`;
    case 'worker-retiring':
      return `${named(entry.pid)} in slot ${entry.slot} is to be replaced: ${retirement(entry.reason)}`;
    case 'worker-leaving':
      return `${named(entry.pid)} is told to finish (${entry.signal}): ${reasons[entry.reason]}`;
    case 'worker-killed':
      return entry.late
        ? `${named(entry.pid)} is killed: it was told to finish (${reasons[entry.reason]}) and did not in time`
        : `${named(entry.pid)} is killed: ${reasons[entry.reason]}`;
    case 'worker-exited':
      return exitMessage(entry);
    case 'worker-stopped':
      return `${named(entry.pid)} was stopped (SIGSTOP); it serves nothing until it is continued`;
    case 'worker-continued':
      return `${named(entry.pid)} was continued`;
    case 'spawn-failed': {
      const retry = entry.retryInMs === null ? '' : `; the next try is in ${seconds(entry.retryInMs)}`;
      const why = entry.reason ?? `${entry.step}: ${errnoText(entry.code)} (${entry.code})`;
      return `cannot start a worker in slot ${entry.slot}: ${why}${retry}`;
    }
    case 'ready-timeout': {
      const late = `${named(entry.pid)} was not ready within ${seconds(entry.timeoutMs)} (--ready-timeout)`;
      return entry.missing.length === 0 ? late : `${late}: ${notListening(entry.missing, entry.listening)}`;
    }
    case 'backoff':
      return `slot ${entry.slot} failed ${entry.failures} times in a row before ready; the next try is in ${seconds(entry.delayMs)}`;
    case 'listen-failed':
      return `cannot listen on ${entry.address}: ${errnoText(entry.code)} (${entry.code})`;
    case 'start-failed':
      return `cannot start: ${entry.reason}`;
    case 'started':
      return `generation ${entry.generation} is ready with ${entry.workers} workers after ${seconds(entry.afterMs)}`;
    default:
      return rolloutMessage(entry);
  }
}

const retirements: Readonly<Record<string, string>> = {
  hung: 'its event loop does not turn',
  'max-age': 'its age is up (--max-age)',
  'max-memory': 'it uses as much memory as it may (--max-memory)',
  'max-requests': 'it has served as many requests as it may (--max-requests)',
};

export const wanted = (workers: number): string =>
  `${workers === 1 ? '1 worker is' : `${workers} workers are`} wanted now`;
const retirement = (reason: string): string => retirements[reason] ?? reason;

type RolloutEntry = Extract<
  LogEntry,
  { what: `rollout-${string}` | `pool-${string}` | 'scaled' | 'signal' | 'stopping' | 'auto-restart' }
>;

function rolloutMessage(entry: RolloutEntry): string {
  switch (entry.what) {
    case 'rollout-started':
      return `generation ${entry.generation} begins (${entry.mode})`;
    case 'rollout-queued':
      return 'a rollout is under way; one more follows it';
    case 'rollout-committed':
      return `generation ${entry.generation} serves after ${seconds(entry.afterMs)}; the old one finishes`;
    case 'rollout-failed':
      return `generation ${entry.generation} failed, generation ${entry.serving} goes on serving: ${entry.reason}`;
    case 'scaled':
      return wanted(entry.workers);
    case 'pool-resized':
      return `${wanted(entry.workers)}: ${entry.busy} were busy and ${entry.idle} idle`;
    case 'pool-full':
      return `the load asks for more than ${entry.workers} workers (--max-workers): ${entry.busy} are busy and ${entry.idle} idle`;
    case 'signal':
      return `received ${entry.signal}`;
    case 'stopping': {
      const cause = entry.signal === null ? '' : ` on ${entry.signal}`;
      return `stopping ${entry.workers} workers${cause}${entry.immediate ? ' at once' : ''}`;
    }
    case 'auto-restart':
      return `generation begins by age (${seconds(entry.intervalMs)}${entry.forced ? ', forced' : ''})`;
  }
}

function exitMessage(entry: Extract<LogEntry, { what: 'worker-exited' }>): string {
  const how = describeStatus(entry.status);
  const when = entry.expected ? 'as asked' : entry.wasReady ? 'and is replaced' : 'before it was ready';
  return `${named(entry.pid)} in slot ${entry.slot} ${how} ${when}`;
}
