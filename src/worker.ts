/**
 * `prefork/worker`: what a program may say to the manager that it runs under. A program needs none of it, and all of it is
 * harmless in a process that prefork has not started.
 */
import { type DrainCallback, type DrainContext, getRuntime, type MetricsRegistry } from './worker/runtime';

export { afterFork, beforeFork, type ForkCallback, forkPoint } from './preload/hooks';
export { type InheritedListener, listeners, serverPorts } from './worker/inherited';
export type { DrainCallback, DrainContext, MetricsRegistry };

/** Which worker this is. */
export interface WorkerInfo {
  /** whether prefork has started this process; false in its children and threads */
  readonly isWorker: boolean;
  /** stable index of the place that it fills, from 0; null in a plain process */
  readonly slot: number | null;
  /** never used again, from 1; null in a plain process */
  readonly workerId: number | null;
  /** the load of the code that it belongs to, from 1; null in a plain process */
  readonly generation: number | null;
}

export const worker: WorkerInfo = {
  get isWorker() {
    return getRuntime() !== undefined;
  },
  get slot() {
    return getRuntime()?.slot ?? null;
  },
  get workerId() {
    return getRuntime()?.workerId ?? null;
  },
  get generation() {
    return getRuntime()?.generation ?? null;
  },
};

/** This worker can do its work: for `--ready message`, and for one without a server. Further calls, and those in a plain process, do nothing. */
export function ready(): void {
  getRuntime()?.ready();
}

/**
 * Asks for a replacement. This worker goes on until the manager tells it to stop, when the replacement is ready. Once; does
 * nothing in a plain process.
 *
 * @param reason appears in the manager's log; at most 200 characters of it
 */
export function retire(reason = 'asked by the program'): void {
  getRuntime()?.retire(String(reason).slice(0, 200));
}

/**
 * Counts towards `--max-requests` what is no HTTP request and no connection: a job of a queue, a datagram. Does nothing in a
 * plain process.
 *
 * @param count how many, an integer ≥ 0; `RangeError` otherwise
 */
export function countRequest(count = 1): void {
  if (!Number.isInteger(count) || count < 0)
    throw new RangeError(`count must be an integer ≥ 0, not ${count}`);
  getRuntime()?.countRequest(count);
}

/**
 * This worker is working, for the scoreboard: for one whose work is no request of a server, such as a job of a queue. From
 * the first call of this or of {@link setIdle} on, the program's word counts, and no longer the requests that are open. Does
 * nothing in a plain process, and with `--no-scoreboard`.
 */
export function setBusy(): void {
  getRuntime()?.setBusy(true);
}

/** This worker waits for work. See {@link setBusy}. */
export function setIdle(): void {
  getRuntime()?.setBusy(false);
}

/**
 * A heartbeat, for a loop of the program's own that does not let the event loop turn for longer than
 * `--heartbeat-interval`. Cheap enough for every round of it. Does nothing in a plain process, and with `--no-scoreboard`.
 */
export function tick(): void {
  getRuntime()?.tick();
}

/**
 * Calls back when this worker begins to drain: it accepts no more, and ends when its connections have ended and what the
 * callback returns is settled. `drained` of the argument resolves when the last connection has ended:
 *
 *     onDrain(async ({ drained }) => {
 *       for (const socket of webSockets) socket.close(1001);
 *       await drained;
 *       await database.end();
 *     });
 *
 * An error is printed and makes the exit code 1. With a handler of the program's own for SIGTERM the program leaves by itself, and
 * this is not called. Never called in a plain process.
 */
export function onDrain(callback: DrainCallback): void {
  getRuntime()?.onDrain(callback);
}

/** Calls back when log files were rotated (USR1 to the manager), to open them anew. Never called in a plain process. */
export function onReopenLogs(callback: () => void): void {
  getRuntime()?.onReopenLogs(callback);
}

/**
 * Adds a registry of prom-client to what `--metrics` serves: the manager asks every worker for it at a scrape, and adds them up as
 * prom-client's `AggregatorRegistry` does. What an ended worker has counted stays in the sum. Names that begin with `prefork_`
 * are the manager's. Does nothing in a plain process.
 *
 *     const { register } = require('prom-client');
 *     require('prefork/worker').metrics(register);
 */
export function metrics(registry: MetricsRegistry): void {
  if (typeof registry?.getMetricsAsJSON !== 'function')
    throw new TypeError('registry must be a Registry of prom-client');
  getRuntime()?.offerMetrics(registry);
}
