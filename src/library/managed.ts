/** A manager inside a program: its life, its hooks, and what can be asked of it. */
import { EventEmitter } from 'node:events';
import { MAX_SCALE, type WorkerStatus } from '../control/protocol';
import type { Command, LogEntry } from '../core/command';
import type { State } from '../core/state';
import { nowMs } from '../engine/clock';
import { decodeStatus } from '../engine/errno';
import { exitCodes, PreforkError, preforkError } from '../errors';
import type { Embedded } from '../manager/embedding';
import { runEmbedded } from '../manager/run';
import { loadRunOptions, type RunOptions } from '../options/load';
import type { ManagedWorker, ManagerEvents, ManagerOptions } from './create-manager';
import { runHook } from './hooks';
import { type CheckedManagerOptions, checkManagerOptions } from './manager-options';

/** How often it is looked who has given a sign of life. */
const LOOK_MS = 500;

export class ManagedService extends EventEmitter<ManagerEvents> {
  readonly #checked: CheckedManagerOptions;
  readonly #observer = {
    command: (command: Command, state: State) => this.#onCommand(command, state),
    turn: (state: State) => this.#onTurn(state),
  };
  #options: RunOptions | null = null;
  #state: State | null = null;
  #inside: Embedded | null = null;
  #ended: Promise<number> | null = null;
  #tellStarted: (() => void) | null = null;
  /** why the start came to nothing */
  #reason: string | null = null;
  /** perhaps before there was anything to stop */
  #stopAsked: { readonly graceful: boolean } | null = null;
  /** hooks that the end waits for */
  readonly #finishing: Promise<void>[] = [];
  readonly #heartbeats = new Map<number, number>();

  /** @internal See createManager(). */
  constructor(options: ManagerOptions) {
    super();
    this.#checked = checkManagerOptions(options);
  }

  /**
   * Starts the workers. Resolves when the first generation is ready.
   *
   * @throws PreforkError of the options; `ERR_PREFORK_NEVER_READY`, `ERR_PREFORK_LISTEN`: the start came to nothing, and
   *   nothing is left of it; `ERR_PREFORK_STATE`: it was started before, or stopped meanwhile
   */
  async start(): Promise<void> {
    if (this.#ended !== null) throw state('a manager is started once');
    const started = new Promise<'started'>((resolve) => {
      this.#tellStarted = () => resolve('started');
    });
    this.#ended = this.#run();
    // Whoever waits for the end is told of it there.
    this.#ended.catch(() => {});
    const first = await Promise.race([started, this.#ended]);
    if (first === 'started') return;
    if (this.#reason === null) throw state('the manager was stopped before it was ready');
    const code = first === exitCodes.listen ? 'ERR_PREFORK_LISTEN' : 'ERR_PREFORK_NEVER_READY';
    throw new PreforkError(code, this.#reason);
  }

  async #run(): Promise<number> {
    const options = await loadRunOptions(this.#checked.invocation);
    if (options instanceof PreforkError) throw options;
    this.#options = options;
    const look = setInterval(() => this.#lookForHeartbeats(), LOOK_MS).unref();
    try {
      return await runEmbedded(options, {
        observer: this.#observer,
        begins: (inside) => {
          this.#inside = inside;
          return this.#begin(inside);
        },
      });
    } finally {
      clearInterval(look);
      await Promise.all(this.#finishing);
      this.#inside = null;
    }
  }

  async #begin({ control }: Embedded): Promise<void> {
    await this.#tell('startup');
    if (this.#stopAsked !== null) void control.ask({ do: 'stop', graceful: this.#stopAsked.graceful });
  }

  /** Resolves to the exit code that `prefork run` would have, when the last worker is gone. `ERR_PREFORK_STATE` before `start()`. */
  get ended(): Promise<number> {
    return this.#ended ?? Promise.reject(state('the manager has not been started'));
  }

  /** Workers that are ready, and have given a sign of life within `heartbeatTimeout`. */
  get healthy(): number {
    return (this.#state?.workers ?? []).filter(({ id, phase, stopped }) => {
      return phase === 'ready' && !stopped && !this.#isSilent(id);
    }).length;
  }

  #isSilent(workerId: number): boolean {
    const timeoutMs = this.#options?.heartbeatTimeoutMs ?? 0;
    const heartbeatMs = this.#inside?.board.read(workerId)?.heartbeatMs ?? 0;
    return timeoutMs > 0 && heartbeatMs > 0 && nowMs() - heartbeatMs > timeoutMs;
  }

  /** As `prefork status --json` has them, by slot. Empty before the start and after the end. */
  get workers(): readonly WorkerStatus[] {
    return this.#inside?.control.status?.workers ?? [];
  }

  /**
   * Keeps up another number of workers from now on. Resolves to it when the manager has taken it up.
   * @param count an integer from 1 to 1024; `RangeError` otherwise
   * @throws PreforkError `ERR_PREFORK_STATE`: it does not run, or stops
   */
  async scale(count: number): Promise<number> {
    if (!Number.isInteger(count) || count < 1 || count > MAX_SCALE)
      throw new RangeError(`count must be an integer from 1 to ${MAX_SCALE}, not ${count}`);
    const { workers } = await this.#ask((control) => control.ask({ do: 'scale', workers: count }));
    return workers;
  }

  /**
   * Starts a new generation, and resolves to its number when it serves. Entry and files are read again.
   * @throws PreforkError `ERR_PREFORK_NEVER_READY`: it failed, and the old one serves; `ERR_PREFORK_STATE`: the manager does not run, or stops
   */
  async reload(): Promise<number> {
    const { generation } = await this.#ask((control) => control.ask({ do: 'reload' }));
    return generation;
  }

  /**
   * Ends the workers and the manager. Resolves to the exit code.
   * @param graceful false: without waiting for what is in flight
   */
  async stop(graceful = true): Promise<number> {
    const { ended } = this;
    this.#stopAsked = { graceful };
    await this.#inside?.control.ask({ do: 'stop', graceful });
    return ended;
  }

  async #ask<T>(question: (control: Embedded['control']) => Promise<T>): Promise<T> {
    if (this.#inside === null) throw state('the manager does not run');
    try {
      return await question(this.#inside.control);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (code === 'ROLLOUT') throw preforkError('ERR_PREFORK_NEVER_READY', { problem: message }, error);
      throw state(message);
    }
  }

  // --- events ------------------------------------------------------------------------------------------------------

  #onTurn(current: State): void {
    this.#state = current;
    void this.#tell('waitup');
  }

  #onCommand(command: Command, current: State): void {
    this.#state = current;
    if (command.type === 'started') this.#tellStarted?.();
    else if (command.type === 'log') this.#onLog(command.entry);
    else if (command.type === 'rolloutEnded') {
      const { generation, ok, reason } = command;
      void this.#tell('reload', { generation, ok, reason });
    }
  }

  #onLog(entry: LogEntry): void {
    switch (entry.what) {
      case 'worker-spawned':
        return void this.#tell('spawn', workerOf(entry));
      case 'worker-ready':
        return void this.#tell('ready', workerOf(entry));
      case 'worker-exited': {
        const { status, expected, wasReady } = entry;
        this.#heartbeats.delete(entry.workerId);
        return void this.#tell('reap', workerOf(entry), {
          ...decodeStatus(status),
          status,
          expected,
          wasReady,
        });
      }
      case 'start-failed':
        this.#reason = entry.reason;
        return;
      case 'stopping':
        this.#finishing.push(this.#tell('finish', !entry.immediate));
        return;
      default:
        return;
    }
  }

  #lookForHeartbeats(): void {
    if (this.listenerCount('heartbeat') === 0) return;
    for (const { id: workerId, slot, generation, pid } of this.#state?.workers ?? []) {
      const heartbeatMs = this.#inside?.board.read(workerId)?.heartbeatMs ?? 0;
      if (heartbeatMs <= (this.#heartbeats.get(workerId) ?? 0) || pid === null) continue;
      this.#heartbeats.set(workerId, heartbeatMs);
      void this.#tell('heartbeat', { workerId, slot, generation, pid });
    }
  }

  /** Calls every listener, and resolves when each is done or has had its time. Never rejects. */
  async #tell<E extends keyof ManagerEvents>(event: E, ...args: ManagerEvents[E]): Promise<void> {
    const { hookTimeoutMs: timeoutMs } = this.#checked;
    const report = (problem: string): void =>
      this.#inside?.log.error({ event: 'hook-failed', hook: event }, problem);
    // As emit() would call them, those for once included; what they return is what emit() drops.
    const listeners = this.rawListeners(event) as ((...args: ManagerEvents[E]) => unknown)[];
    await Promise.all(
      listeners.map((listener) => runHook(event, () => listener.apply(this, args), { timeoutMs, report })),
    );
  }
}

function workerOf(entry: {
  workerId: number;
  slot: number;
  generation: number;
  pid: number | null;
}): ManagedWorker {
  const { workerId, slot, generation, pid } = entry;
  return { workerId, slot, generation, pid: pid ?? 0 };
}

const state = (problem: string): PreforkError => preforkError('ERR_PREFORK_STATE', { problem });
