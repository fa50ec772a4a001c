/** `prefork/worker` before there is a worker: what the program asks for at its load is asked for again in each. */
import type { MetricsRegistry, WorkerRuntime } from '../worker/runtime';

export class DeferredRuntime implements WorkerRuntime {
  /** Of no worker. */
  readonly slot = null;
  readonly workerId = null;
  readonly generation: number;
  readonly #calls: ((runtime: WorkerRuntime) => void)[] = [];

  constructor(generation: number) {
    this.generation = generation;
  }

  ready(): void {
    this.#calls.push((runtime) => runtime.ready());
  }

  retire(reason: string): void {
    this.#calls.push((runtime) => runtime.retire(reason));
  }

  countRequest(count: number): void {
    this.#calls.push((runtime) => runtime.countRequest(count));
  }

  setBusy(busy: boolean): void {
    this.#calls.push((runtime) => runtime.setBusy(busy));
  }

  /** A heartbeat of nobody's. */
  tick(): void {}

  onDrain(callback: Parameters<WorkerRuntime['onDrain']>[0]): void {
    this.#calls.push((runtime) => runtime.onDrain(callback));
  }

  onReopenLogs(callback: () => void): void {
    this.#calls.push((runtime) => runtime.onReopenLogs(callback));
  }

  offerMetrics(registry: MetricsRegistry): void {
    this.#calls.push((runtime) => runtime.offerMetrics(registry));
  }

  replay(runtime: WorkerRuntime): void {
    for (const call of this.#calls.splice(0)) call(runtime);
  }
}
