/** What the hook offers to `prefork/worker`. The hook and the program may load different copies of this package: both find it here. */

export interface DrainContext {
  /** why the worker leaves: a signal's name, or 'manager gone' */
  readonly reason: string;
  /** resolves when the last connection has ended */
  readonly drained: Promise<void>;
}

export type DrainCallback = (context: DrainContext) => unknown;

/** The part of a registry of prom-client that is needed here. */
export interface MetricsRegistry {
  getMetricsAsJSON(): Promise<readonly object[]>;
}

export interface WorkerRuntime {
  /** null: not yet a worker, but the process that workers are forked from */
  readonly slot: number | null;
  readonly workerId: number | null;
  readonly generation: number | null;
  ready(): void;
  retire(reason: string): void;
  countRequest(count: number): void;
  setBusy(busy: boolean): void;
  tick(): void;
  onDrain(callback: DrainCallback): void;
  onReopenLogs(callback: () => void): void;
  offerMetrics(registry: MetricsRegistry): void;
}

const KEY = Symbol.for('prefork.worker.1');

type Registry = { [KEY]?: WorkerRuntime };

/** The runtime of this process; undefined where the hook is not installed. */
export function getRuntime(): WorkerRuntime | undefined {
  return (globalThis as Registry)[KEY];
}

export function setRuntime(runtime: WorkerRuntime): void {
  Object.defineProperty(globalThis, KEY, { value: runtime, configurable: true });
}
