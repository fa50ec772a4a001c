/** Looks for workers that give no sign of life, finds out where they are stuck, and has them replaced. */
import type { Event } from '../core/event';
import type { State, WorkerState } from '../core/state';
import { nowMs } from '../engine/clock';
import type { Signal } from '../engine/engine';
import type { Board } from '../scoreboard/board';
import { describeStuck, findStuck, type Stuck } from '../stuck/stuck';
import { judge, type Look, type Pulse } from './judge';
import type { Launch } from './launch';
import type { Log } from './log';

/** Workers that are looked into at a time: each takes up to two seconds, and a handful of reads of /proc. */
const MAX_AT_A_TIME = 8;

/** The part of a manager that is needed here. */
export interface Monitored {
  readonly state: State;
  launchOf(generation: number): Launch;
  post(event: Event): void;
  signal(workerId: number, signal: Signal): void;
}

export class Monitor {
  readonly #manager: Monitored;
  readonly #board: Board;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #last: Look | null = null;
  /** last signs of life, kept for rows that have become unreadable */
  readonly #heartbeats = new Map<number, number>();
  /** judged already, until they are gone or have come back */
  readonly #accused = new Set<number>();
  readonly #waiting: (() => Promise<void>)[] = [];
  #active = 0;

  constructor(manager: Monitored, board: Board, log: Log) {
    this.#manager = manager;
    this.#board = board;
    this.#log = log;
  }

  /** Goes on by itself, and keeps nobody alive. */
  start(): void {
    this.#timer = setTimeout(() => this.#look(), this.#intervalMs()).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }

  /** The shortest that a generation asks for. */
  #intervalMs(): number {
    const { state } = this.#manager;
    const generations = new Set([state.generation, ...state.workers.map(({ generation }) => generation)]);
    const intervals = [...generations].map((g) => this.#manager.launchOf(g).scoreboard?.intervalMs);
    return Math.min(...intervals.filter((ms) => ms !== undefined), LONGEST_MS);
  }

  #look(): void {
    const { state } = this.#manager;
    const ready = state.workers.filter(({ phase }) => phase === 'ready');
    this.#forget(new Set(ready.map(({ id }) => id)));
    const pulses = ready.map((w) => this.#pulseOf(w));
    const { look, stalledMs, silent } = judge(pulses, nowMs(), this.#last, this.#intervalMs());
    this.#last = look;
    if (stalledMs !== null) this.#tellStalled(stalledMs);
    for (const { workerId, silentMs } of silent) {
      const worker = ready.find(({ id }) => id === workerId);
      if (worker === undefined || this.#accused.has(workerId)) continue;
      this.#accused.add(workerId);
      this.#waiting.push(() => this.#lookInto(worker, silentMs));
    }
    this.#next();
    this.start();
  }

  #forget(ready: ReadonlySet<number>): void {
    for (const id of this.#heartbeats.keys()) if (!ready.has(id)) this.#heartbeats.delete(id);
    for (const id of this.#accused) if (!ready.has(id)) this.#accused.delete(id);
  }

  #pulseOf({ id: workerId, generation, readyAtMs }: WorkerState): Pulse {
    const row = this.#board.read(workerId);
    // From the future it is no sign of life.
    if (row !== null && row.heartbeatMs <= nowMs()) this.#heartbeats.set(workerId, row.heartbeatMs);
    return {
      workerId,
      heartbeatMs: this.#heartbeats.get(workerId) ?? 0,
      readyAtMs: readyAtMs ?? 0,
      timeoutMs: this.#manager.launchOf(generation).scoreboard?.timeoutMs ?? 0,
    };
  }

  #tellStalled(ms: number): void {
    const message = `this machine or manager stood still for ${(ms / 1000).toFixed(1)} s; no worker is blamed for it`;
    this.#log.warn({ event: 'manager-stalled', ms: Math.round(ms) }, message);
  }

  #next(): void {
    while (this.#active < MAX_AT_A_TIME) {
      const task = this.#waiting.shift();
      if (task === undefined) return;
      this.#active++;
      void task().finally(() => {
        this.#active--;
        this.#next();
      });
    }
  }

  async #lookInto({ id: workerId, pid, slot, generation }: WorkerState, silentMs: number): Promise<void> {
    if (pid === null) return;
    const heartbeatMs = this.#heartbeats.get(workerId);
    const mayAsk =
      this.#manager.launchOf(generation).scoreboard?.inspect && this.#board.isInspectable(workerId);
    const stuck = await findStuck(pid, mayAsk ? () => this.#manager.signal(workerId, 'SIGUSR1') : null);
    const worker = this.#manager.state.workers.find(({ id }) => id === workerId);
    if (worker?.phase !== 'ready') return;
    const row = this.#board.read(workerId);
    const isBack = row !== null && row.heartbeatMs !== heartbeatMs && row.heartbeatMs <= nowMs();
    if (isBack) this.#accused.delete(workerId);
    this.#tell({ workerId, pid, slot, generation, silentMs: Math.round(silentMs), isBack }, stuck);
    if (!isBack) this.#manager.post({ type: 'hung', workerId });
  }

  #tell(
    about: { pid: number; slot: number; silentMs: number; isBack: boolean; [field: string]: unknown },
    stuck: Stuck,
  ): void {
    const { pid, slot, silentMs, isBack } = about;
    const what = isBack ? 'hung, and goes on' : 'hangs';
    const message = `worker ${pid} in slot ${slot} ${what}: no sign of life for ${(silentMs / 1000).toFixed(1)} s; ${describeStuck(stuck)}`;
    this.#log.warn({ event: isBack ? 'worker-recovered' : 'worker-hung', ...about, stuck }, message);
  }
}

/** Without a scoreboard there is nothing to look at. */
const LONGEST_MS = 60_000;
