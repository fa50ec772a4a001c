/** What has happened since the service began, counted: plain data that is kept over a replacement of the manager. */
import type { Command, LogEntry } from '../core/command';
import type { State } from '../core/state';
import { nowMs } from '../engine/clock';
import type { EngineEvent } from '../engine/engine';
import { decodeStatus, UNKNOWN_STATUS } from '../engine/errno';
import type { ManagerObserver } from '../manager/manager';
import type { Scoreboard } from '../scoreboard/row';
import { emptyHistogram, type HistogramData, observe } from './histogram';

/** What a worker's row counts up. */
export interface Counts {
  requests: number;
  bytesRead: number;
  bytesWritten: number;
}

export interface TallyData {
  /** slot → of the workers that have ended in it */
  readonly ended: [number, Counts][];
  /** reason, signal and exit code → how many */
  readonly exits: [string, number][];
  readonly rollouts: { committed: number; failed: number };
  spawnFailures: number;
  readonly spawnSeconds: HistogramData;
  readonly readySeconds: HistogramData;
  readonly drainSeconds: HistogramData;
}

interface Leaving {
  reason: string;
  readonly atMs: number;
}

const noCounts = (): Counts => ({ requests: 0, bytesRead: 0, bytesWritten: 0 });

export class Tally implements ManagerObserver {
  readonly #scoreboard: Scoreboard;
  readonly #data: TallyData;
  readonly #ended: Map<number, Counts>;
  readonly #exits: Map<string, number>;
  readonly #leaving = new Map<number, Leaving>();
  /** worker → the most that its row was seen to say: what it stores later, or a torn row, takes nothing back */
  readonly #seen = new Map<number, Counts>();

  constructor(scoreboard: Scoreboard, former: TallyData | null = null) {
    this.#scoreboard = scoreboard;
    this.#data = former ?? {
      ended: [],
      exits: [],
      rollouts: { committed: 0, failed: 0 },
      spawnFailures: 0,
      spawnSeconds: emptyHistogram(),
      readySeconds: emptyHistogram(),
      drainSeconds: emptyHistogram(),
    };
    this.#ended = new Map(this.#data.ended);
    this.#exits = new Map(this.#data.exits);
  }

  handOver(): TallyData {
    return { ...this.#data, ended: [...this.#ended], exits: [...this.#exits] };
  }

  /** By slot, of those that have ended and those that live. Never less than before. */
  counts(state: State): Map<number, Counts> {
    const bySlot = new Map([...this.#ended].map(([slot, counts]) => [slot, { ...counts }]));
    for (const { id, slot } of state.workers) {
      const total = bySlot.get(slot) ?? noCounts();
      add(total, this.#look(id));
      bySlot.set(slot, total);
    }
    return bySlot;
  }

  /** Of a worker's row before it goes with the worker. */
  engineEvent(event: EngineEvent, state: State): void {
    if (event.type !== 'exited') return;
    const worker = state.workers.find(({ id }) => id === event.workerId);
    const last = this.#look(event.workerId);
    this.#seen.delete(event.workerId);
    if (worker === undefined) return;
    const total = this.#ended.get(worker.slot) ?? noCounts();
    add(total, last);
    this.#ended.set(worker.slot, total);
  }

  command(command: Command, state: State): void {
    if (command.type === 'rolloutEnded') this.#data.rollouts[command.ok ? 'committed' : 'failed']++;
    if (command.type === 'log') this.#entry(command.entry, state);
  }

  #entry(entry: LogEntry, state: State): void {
    switch (entry.what) {
      case 'worker-spawned': {
        const worker = state.workers.find(({ id }) => id === entry.workerId);
        if (worker) observe(this.#data.spawnSeconds, (nowMs() - worker.spawnedAtMs) / 1000);
        return;
      }
      case 'worker-ready':
        return observe(this.#data.readySeconds, entry.afterMs / 1000);
      case 'spawn-failed':
        this.#data.spawnFailures++;
        return;
      case 'worker-leaving':
        this.#leaving.set(entry.workerId, { reason: entry.reason, atMs: nowMs() });
        return;
      case 'worker-killed':
        if (!this.#leaving.has(entry.workerId)) {
          this.#leaving.set(entry.workerId, { reason: entry.reason, atMs: nowMs() });
        }
        return;
      case 'worker-exited':
        return this.#exited(entry);
      default:
        return;
    }
  }

  #exited({ workerId, status, wasReady }: Extract<LogEntry, { what: 'worker-exited' }>): void {
    const leaving = this.#leaving.get(workerId);
    this.#leaving.delete(workerId);
    if (leaving) observe(this.#data.drainSeconds, (nowMs() - leaving.atMs) / 1000);
    const reason = leaving?.reason ?? (wasReady ? 'unexpected' : 'not-ready');
    const { exitCode, signal } =
      status === UNKNOWN_STATUS ? { exitCode: null, signal: null } : decodeStatus(status);
    const key = JSON.stringify({
      reason,
      signal: signal ?? '',
      code: exitCode === null ? '' : String(exitCode),
    });
    this.#exits.set(key, (this.#exits.get(key) ?? 0) + 1);
  }

  get exits(): { labels: Record<string, string>; count: number }[] {
    return [...this.#exits].map(([key, count]) => ({
      labels: JSON.parse(key) as Record<string, string>,
      count,
    }));
  }

  get data(): Readonly<TallyData> {
    return this.#data;
  }

  #look(workerId: number): Counts {
    const seen = this.#seen.get(workerId) ?? noCounts();
    const row = this.#scoreboard.read(workerId);
    if (row !== null) {
      seen.requests = Math.max(seen.requests, row.requests);
      seen.bytesRead = Math.max(seen.bytesRead, row.bytesRead);
      seen.bytesWritten = Math.max(seen.bytesWritten, row.bytesWritten);
      this.#seen.set(workerId, seen);
    }
    return seen;
  }
}

function add(total: Counts, more: Counts): void {
  total.requests += more.requests;
  total.bytesRead += more.bytesRead;
  total.bytesWritten += more.bytesWritten;
}
