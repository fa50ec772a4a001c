/** Finds the manager of a service, if it runs: by its control socket, which answers for itself, else by its pid file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeErrno } from '../errors';
import { pidOwner } from '../manager/pid-owner';
import type { ServicePaths } from '../options/load';
import { ControlClient } from './client';
import { controlPath } from './locate';
import type { Status } from './protocol';

/** A manager that starts writes its pid when its addresses are open. */
const PID_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

export type Found =
  /** `client` and `status` are null where it does not answer, and `problem` says why; null: there is no control socket */
  | {
      readonly state: 'running';
      readonly pid: number;
      readonly client: ControlClient | null;
      readonly status: Status | null;
      readonly problem: string | null;
    }
  /** `stale`: its pid file or socket is left */
  | { readonly state: 'stopped'; readonly stale: boolean }
  | { readonly state: 'unknown'; readonly problem: string };

/** The caller closes `client`. `memory`: the status has the memory of the workers as the kernel counts it. */
export async function findManager(paths: ServicePaths, memory = false): Promise<Found> {
  const path = controlPath(paths);
  const asked = path === null ? null : await ask(path, memory);
  if (asked !== null && 'client' in asked) {
    return { state: 'running', pid: asked.status.pid, problem: null, ...asked };
  }
  if (paths.pidFile !== null) return byPidFile(paths.pidFile, asked?.problem ?? null);
  return asked?.problem
    ? { state: 'unknown', problem: asked.problem }
    : { state: 'stopped', stale: asked?.stale === true };
}

type Asked =
  | { client: ControlClient; status: Status }
  /** problem null: nobody is there; stale: a socket is left */
  | { problem: string | null; stale: boolean };

async function ask(path: string, memory: boolean): Promise<Asked> {
  let client: ControlClient;
  try {
    client = await ControlClient.connect(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const nobody = code === 'ENOENT' || code === 'ECONNREFUSED';
    return { problem: nobody ? null : describeErrno(error), stale: code === 'ECONNREFUSED' };
  }
  try {
    return { client, status: await client.ask({ do: 'status', ...(memory && { memory }) }) };
  } catch (error) {
    client.close();
    return { problem: (error as Error).message, stale: false };
  }
}

async function byPidFile(path: string, problem: string | null): Promise<Found> {
  for (const until = Date.now() + PID_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    let owner: ReturnType<typeof pidOwner>;
    try {
      owner = pidOwner(path);
    } catch (error) {
      return { state: 'unknown', problem: `${path}: ${describeErrno(error)}` };
    }
    if (owner.kind === 'nobody') return { state: 'stopped', stale: owner.stale };
    if (owner.kind === 'foreign') {
      return {
        state: 'unknown',
        problem: `${path} is locked by process ${owner.holder}, which is no manager of it`,
      };
    }
    if (owner.pid !== null) {
      return { state: 'running', pid: owner.pid, client: null, status: null, problem };
    }
    if (Date.now() > until) return { state: 'unknown', problem: `${path} is locked, but names no process` };
  }
}
