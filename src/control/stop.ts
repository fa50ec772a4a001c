/** Ends a running manager and waits until it has gone. */
import { formatDuration } from '../options/duration';
import type { ServicePaths } from '../options/load';
import { preforkError } from '../errors';
import { pidOwner } from '../manager/pid-owner';
import type { Found } from './find';
import { ManagerProcess } from './manager-process';

export interface StopOptions {
  /** false: workers are killed */
  readonly graceful: boolean;
  readonly timeoutMs: number;
}

/**
 * Asks over the control socket, where it answers; else by signal, to the very process that holds the pid file.
 * Throws `ERR_PREFORK_STOP_TIMEOUT`, or an error with the code EPERM.
 */
export async function stopManager(
  found: Extract<Found, { state: 'running' }>,
  { pidFile }: ServicePaths,
  options: StopOptions,
): Promise<void> {
  const manager = ManagerProcess.open(found.pid);
  if (manager === null) return;
  try {
    const asked = await ask(found, options.graceful);
    // Between the look at the pid file and the pidfd the pid may have become another's.
    const isSame = pidFile === null ? found.status !== null : stillHolds(pidFile, found.pid);
    if (!asked && isSame) signal(manager, options.graceful);
    if (await manager.ended(options.timeoutMs)) return;
    const timeout = formatDuration(options.timeoutMs);
    throw preforkError('ERR_PREFORK_STOP_TIMEOUT', { pid: found.pid, timeout });
  } finally {
    manager.close();
  }
}

async function ask({ client }: Extract<Found, { state: 'running' }>, graceful: boolean): Promise<boolean> {
  try {
    await client?.ask({ do: 'stop', graceful });
    return client !== null;
  } catch {
    return false;
  }
}

function stillHolds(path: string, pid: number): boolean {
  const owner = pidOwner(path);
  return owner.kind === 'manager' && owner.pid === pid;
}

/** A second signal makes the stop immediate; INT, since two TERM may become one. */
function signal(manager: ManagerProcess, graceful: boolean): void {
  manager.signal('SIGTERM');
  if (!graceful) manager.signal('SIGINT');
}
