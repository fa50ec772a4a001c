/**
 * The check itself: load from connections of both kinds, reloads under it, and a record of all that failed. It loads only the
 * server that it is told, with a bounded number of connections, and ends with the last reload.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Failure, StrictClient, type StrictReport } from './client';
import { connect, type Target } from './connect';
import { Failed, type FailureKind } from './failure';
import type { CheckOptions } from './options';
import { type CommandRun, runCommand } from './reload-command';

export interface FailureCount {
  readonly kind: FailureKind;
  count: number;
  /** the first of its kind, and in which reload it came: 0 is before the first */
  readonly first: Failure & { readonly reload: number };
}

export interface CheckResult {
  readonly url: string;
  /** `none`: not enough was seen to judge by, for the reason in `problem` */
  readonly verdict: 'passed' | 'failed' | 'none';
  readonly problem: string | null;
  readonly reloads: readonly CommandRun[];
  readonly requests: StrictReport['requests'];
  readonly failed: number;
  readonly connections: number;
  readonly retried: number;
  readonly slowestMs: number;
  readonly elapsedMs: number;
  readonly failures: readonly FailureCount[];
}

export interface CheckEvents {
  loading(): void;
  reloaded(number: number, run: CommandRun, failuresSince: number): void;
}

/** Runs it to its end, or until `signal` aborts: then the result is that of what was seen. */
export async function check(
  options: CheckOptions,
  events: CheckEvents,
  signal: AbortSignal,
): Promise<CheckResult> {
  const begunMs = performance.now();
  const record = new Record();
  const target = await reach(options, record);
  if (target === null)
    return record.result(options, begunMs, 'the first request failed, so nothing was reloaded');
  const client = startLoad(options, target, record);
  try {
    events.loading();
    await underLoad(options, client);
    await reloadAll(options, events, signal, client, record);
  } finally {
    record.load = await client.stop();
  }
  return record.result(options, begunMs, signal.aborted ? 'it was interrupted' : record.problem);
}

/** One request as they will all be: an address that answers, or null. */
async function reach(options: CheckOptions, record: Record): Promise<Target | null> {
  const target = { ...options.target, timeoutMs: options.timeoutMs };
  try {
    // All connections go to the one address that the name stands for now.
    const socket = await connect(target);
    const { remoteAddress } = socket;
    socket.destroy();
    const found = remoteAddress === undefined ? target : { ...target, host: remoteAddress };
    const client = strictClient({ ...options, keepAlive: 1, oneShot: 0 }, found, () => {}).start();
    await client.settled(1);
    const { failures } = await client.stop();
    if (failures[0] === undefined) return found;
    record.add(failures[0]);
  } catch (error) {
    const kind = error instanceof Failed ? error.kind : 'refused';
    record.add({ kind, detail: String((error as Error).message), answersBefore: 0, worker: null });
  }
  return null;
}

function startLoad(options: CheckOptions, target: Target, record: Record): StrictClient {
  return strictClient(options, target, (failure) => record.add(failure)).start();
}

function strictClient(
  options: CheckOptions,
  target: Target,
  onFailure: (failure: Failure) => void,
): StrictClient {
  const { keepAlive, oneShot, path, authority, expects, thinkMs } = options;
  return new StrictClient({ ...target, keepAlive, oneShot, path, authority, expects, thinkMs }, onFailure);
}

/** Every connection has had a turn, well or badly. */
function underLoad({ keepAlive, oneShot }: CheckOptions, client: StrictClient): Promise<void> {
  return client.settled(keepAlive + oneShot);
}

async function reloadAll(
  options: CheckOptions,
  events: CheckEvents,
  signal: AbortSignal,
  client: StrictClient,
  record: Record,
): Promise<void> {
  for (let number = 1; number <= options.reloads && !signal.aborted; number++) {
    record.reload = number;
    const before = record.failed;
    const run = await runCommand(options.command, options.commandTimeoutMs, signal);
    if (signal.aborted) return;
    record.reloads.push(run);
    if (run.isMissing) {
      record.problem = `the command cannot be run: ${run.problem}`;
      return;
    }
    await delay(options.intervalMs, undefined, { signal }).catch(() => {});
    await underLoad(options, client);
    events.reloaded(number, run, record.failed - before);
  }
}

class Record {
  readonly reloads: CommandRun[] = [];
  problem: string | null = null;
  reload = 0;
  failed = 0;
  load: StrictReport | null = null;
  readonly #kinds = new Map<FailureKind, FailureCount>();

  add(failure: Failure): void {
    this.failed++;
    const known = this.#kinds.get(failure.kind);
    if (known !== undefined) known.count++;
    else
      this.#kinds.set(failure.kind, {
        kind: failure.kind,
        count: 1,
        first: { ...failure, reload: this.reload },
      });
  }

  result(options: CheckOptions, begunMs: number, problem: string | null): CheckResult {
    const failures = [...this.#kinds.values()].sort((a, b) => b.count - a.count);
    // What this machine lacks says nothing about the server.
    const isTheirs =
      failures.some(({ kind }) => kind !== 'local') || this.reloads.some((run) => run.problem !== null);
    const lack = failures.length > 0 && !isTheirs ? 'this machine could not make the load' : null;
    const hindrance = problem ?? lack;
    const verdict =
      isTheirs && this.load !== null && this.problem === null
        ? 'failed'
        : hindrance !== null
          ? 'none'
          : 'passed';
    return {
      url: options.url,
      verdict,
      problem: hindrance,
      reloads: this.reloads,
      requests: this.load?.requests ?? 0,
      failed: this.failed,
      connections: this.load?.connections ?? 0,
      retried: this.load?.retried ?? 0,
      slowestMs: Math.round((this.load?.slowestMs ?? 0) * 10) / 10,
      elapsedMs: Math.round(performance.now() - begunMs),
      failures,
    };
  }
}
