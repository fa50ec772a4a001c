/** What this worker tells of itself: its row of the scoreboard, and the heartbeat of its event loop. */
import { nowMs } from '../engine/clock';
import { RowWriter } from '../scoreboard/writer';
import type { BootScoreboard } from './protocol';

/** Load and memory are looked at once a second; the heartbeat comes with them. */
const MAX_BEAT_MS = 1000;

/** As the program may find them replaced. */
const { setInterval, clearInterval } = globalThis;

export interface VitalsOptions {
  readonly boot: BootScoreboard;
  /** the memory that the manager reads; null: `report` takes it there */
  readonly page: ArrayBuffer | null;
  report(values: readonly number[]): void;
  /** nothing but being alive is asked of it */
  readonly servesAtOnce: boolean;
}

export class Vitals {
  #writer: RowWriter;
  readonly #options: VitalsOptions;
  readonly #beatMs: number;
  readonly #startedAtMs = nowMs();
  readonly #pid = process.pid;
  #timer: NodeJS.Timeout | undefined;
  #load = performance.eventLoopUtilization();
  #dueAtMs = 0;
  /** requests under way */
  #open = 0;
  /** by the program's word; null: by the requests under way */
  #busy: boolean | null = null;
  #serves = false;
  #drains = false;
  /** when the row was last sent, and what it was but for the heartbeat */
  #sentAtMs = 0;
  #changed = false;

  constructor(options: VitalsOptions) {
    this.#options = options;
    this.#writer = new RowWriter(options.page ?? undefined);
    this.#beatMs = Math.min(MAX_BEAT_MS, options.boot.intervalMs);
    this.#writer.state = 'starting';
  }

  /** Goes on by itself, and keeps nobody alive. */
  start(): void {
    this.#timer = setInterval(() => this.#beat(), this.#beatMs).unref();
    this.#sample(0);
    this.#send();
  }

  /** It can do its work. */
  serves(): void {
    if (this.#serves) return;
    this.#serves = true;
    this.#phaseChanges();
  }

  drains(): void {
    if (this.#drains) return;
    this.#drains = true;
    this.#phaseChanges();
  }

  requestOpens(): void {
    if (this.#open++ === 0) this.#showState();
  }

  requestsClose(count: number): void {
    this.#open -= count;
    if (this.#open === 0) this.#showState();
  }

  requestsServed(total: number): void {
    this.#writer.requests = total;
    this.#changed = true;
  }

  connectionsOpen(count: number): void {
    this.#writer.connections = count;
    this.#changed = true;
  }

  bytes(read: number, written: number): void {
    this.#writer.addBytes(read, written);
  }

  setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#showState();
  }

  tick(): void {
    this.#writer.touch(nowMs());
    // By messages it would reach nobody before the loop turns.
    if (this.#options.page === null && nowMs() - this.#sentAtMs >= this.#beatMs) this.#send();
  }

  #showState(): void {
    const { state } = this.#writer;
    const next = this.#drains
      ? 'draining'
      : !this.#serves
        ? 'starting'
        : (this.#busy ?? this.#open > 0)
          ? 'busy'
          : 'idle';
    if (next === state) return;
    this.#writer.state = next;
    this.#changed = true;
  }

  #phaseChanges(): void {
    this.#showState();
    this.#send();
  }

  #beat(): void {
    if (process.pid !== this.#pid) return this.#letGo();
    if (this.#options.servesAtOnce) this.serves();
    const lateMs = nowMs() - this.#dueAtMs;
    this.#sample(Math.max(0, lateMs));
    const { page, boot } = this.#options;
    if (page === null && (this.#changed || nowMs() - this.#sentAtMs > boot.intervalMs - this.#beatMs))
      this.#send();
  }

  #sample(lagMs: number): void {
    const load = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(load, this.#load);
    this.#load = load;
    const heartbeatMs = nowMs();
    this.#dueAtMs = heartbeatMs + this.#beatMs;
    const { rss, heapUsed } = process.memoryUsage();
    this.#writer.inspectable = this.#options.boot.inspect && process.listenerCount('SIGUSR1') === 0;
    this.#writer.beat({
      heartbeatMs,
      startedAtMs: this.#startedAtMs,
      pid: this.#pid,
      utilisation: Math.min(1, Math.max(0, utilization || 0)),
      lagMs,
      rssBytes: rss,
      heapBytes: heapUsed,
    });
  }

  #send(): void {
    if (this.#options.page !== null) return;
    this.#sentAtMs = nowMs();
    this.#changed = false;
    this.#options.report(this.#writer.toMessage());
  }

  /** This is a copy that the program made by fork(): the row is its parent's. */
  #letGo(): void {
    clearInterval(this.#timer);
    this.#writer = new RowWriter();
  }
}
