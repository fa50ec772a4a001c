/** The prom-client registries of the workers: asked for at a scrape, added up, and what ended workers have counted is kept. */
import { AggregatorRegistry } from 'prom-client';
import type { EngineEvent } from '../engine/engine';
import type { ManagerObserver } from '../manager/manager';
import { isSnapshot, type Snapshot } from './snapshot';

/** A worker that is busy for longer answers the next scrape: what it said last is taken meanwhile. */
export const ANSWER_MS = 500;
/** One worker's registry as JSON; more is left out. */
export const MAX_REGISTRY_CHARS = 1_048_576;

export interface RegistriesData {
  readonly offering: readonly number[];
  /** worker → what it said last */
  readonly last: readonly (readonly [number, Snapshot])[];
  /** of workers that have ended: counters and histograms */
  readonly ended: Snapshot;
}

interface Part {
  seq: number;
  text: string;
}

export class Registries implements ManagerObserver {
  readonly #send: (workerId: number, seq: number) => boolean;
  /** workers that have said that they have one */
  readonly #offering: Set<number>;
  readonly #last: Map<number, Snapshot>;
  readonly #parts = new Map<number, Part>();
  #ended: Snapshot;
  #seq = 0;
  #missing: { readonly workers: Set<number>; readonly done: () => void } | null = null;

  constructor(send: (workerId: number, seq: number) => boolean, former: RegistriesData | null = null) {
    this.#send = send;
    this.#offering = new Set(former?.offering);
    this.#last = new Map(former?.last);
    this.#ended = former?.ended ?? [];
  }

  handOver(): RegistriesData {
    return { offering: [...this.#offering], last: [...this.#last], ended: this.#ended };
  }

  /** All of them added up. One call at a time. */
  async collect(): Promise<Snapshot> {
    if (this.#offering.size > 0) await this.#ask();
    return aggregate([this.#ended, ...this.#last.values()]);
  }

  #ask(): Promise<void> {
    const seq = ++this.#seq;
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(), ANSWER_MS);
      const done = (): void => {
        clearTimeout(timer);
        this.#missing = null;
        resolve();
      };
      const workers = new Set([...this.#offering].filter((workerId) => this.#send(workerId, seq)));
      if (workers.size === 0) return done();
      this.#missing = { workers, done };
    });
  }

  engineEvent(event: EngineEvent): void {
    if (event.type === 'exited') return this.#forget(event.workerId);
    if (event.type !== 'message') return;
    const message = event.message as { type?: unknown; seq?: unknown; text?: unknown; last?: unknown } | null;
    if (message?.type !== 'registry') return;
    this.#offering.add(event.workerId);
    if (typeof message.text === 'string')
      this.#take(event.workerId, Number(message.seq), message.text, message.last === true);
  }

  #take(workerId: number, seq: number, text: string, last: boolean): void {
    const before = this.#parts.get(workerId);
    const whole = before?.seq === seq ? before.text + text : text;
    if (whole.length > MAX_REGISTRY_CHARS) return this.#answered(workerId);
    if (!last) {
      this.#parts.set(workerId, { seq, text: whole });
      return;
    }
    this.#parts.delete(workerId);
    const snapshot = parse(whole);
    if (snapshot !== null) this.#last.set(workerId, snapshot);
    this.#answered(workerId);
  }

  #answered(workerId: number): void {
    if (this.#missing?.workers.delete(workerId) && this.#missing.workers.size === 0) this.#missing.done();
  }

  #forget(workerId: number): void {
    const last = this.#last.get(workerId);
    this.#offering.delete(workerId);
    this.#parts.delete(workerId);
    this.#last.delete(workerId);
    if (last !== undefined) this.#ended = aggregate([this.#ended, lasting(last)]);
    this.#answered(workerId);
  }
}

function parse(text: string): Snapshot | null {
  try {
    const value: unknown = JSON.parse(text);
    return isSnapshot(value) ? value : null;
  } catch {
    return null;
  }
}

/** What an ended worker leaves: what it has counted; its gauges say nothing any more. */
const lasting = (snapshot: Snapshot): Snapshot =>
  snapshot.filter(({ type }) => type === 'counter' || type === 'histogram');

function aggregate(snapshots: readonly Snapshot[]): Snapshot {
  const metrics = AggregatorRegistry.aggregate(snapshots as object as object[]).getMetricsAsArray();
  return metrics.map((metric) => (metric as unknown as { get(): Snapshot[number] }).get());
}
