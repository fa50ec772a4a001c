/** How a worker of a {@link Prefork} comes to be: a copy of the manager, or its script from the beginning. */
import type { Binding } from '../engine/binding';
import type { Engine, WorkerHandle } from '../engine/engine';
import type { NativeEngine } from '../engine/native';
import { describe, PreforkError, preforkError } from '../errors';
import { forkProcess, forkRefusal, trackRandomness } from '../preload/fork';
import type { PoolSettings } from './options';
import { type ScriptBoot, scriptSpec } from './script';

/** What is in the way of a fork may be gone in a moment: an operation under way, a thread that runs. */
const FORK_TRIES = 5;
const FORK_PAUSE_MS = 20;

export type Started =
  | { readonly type: 'started'; readonly handle: WorkerHandle }
  /** an event of the engine will tell that it failed, where it did */
  | { readonly type: 'pending' }
  | { readonly type: 'failed'; readonly problem: string }
  /** this process is the new worker */
  | { readonly type: 'forked' };

type Method = 'fork' | 'script';

export class Starter {
  readonly #settings: PoolSettings;
  readonly #binding: Binding | null;
  readonly #warn: (message: string) => void;
  /** null: the first worker will show */
  #method: Method | null;
  #started = false;

  constructor(settings: PoolSettings, binding: Binding | null, warn: (message: string) => void) {
    this.#settings = settings;
    this.#binding = binding;
    this.#warn = warn;
    this.#method = settings.startMethod ?? (binding === null ? 'script' : null);
    // Libraries fill their pools when they are loaded, long before a fork.
    if (this.#method !== 'script') trackRandomness();
  }

  /** Rejects with what is in the way of the first worker, where it has to be forked. */
  async start(workerId: number, boot: ScriptBoot, engine: Engine): Promise<Started> {
    const method = this.#method ?? this.#possible();
    if (method === 'script') return this.#startScript(workerId, boot, engine);
    const pid = await this.#fork();
    if (pid === 0) return { type: 'forked' };
    if (typeof pid === 'number') {
      this.#settle('fork');
      const pidfd = this.#binding!.pidfdOpen(pid);
      return { type: 'started', handle: (engine as NativeEngine).adopt(workerId, pid, pidfd, -1) };
    }
    if (this.#started || !(pid instanceof PreforkError)) return { type: 'failed', problem: describe(pid) };
    if (this.#method === 'fork') throw pid;
    this.#settle('script', pid.message);
    return this.#startScript(workerId, boot, engine);
  }

  #possible(): Method {
    const refusal = forkRefusal();
    if (refusal === null) return 'fork';
    this.#settle('script', `cannot fork here: ${refusal}`);
    return 'script';
  }

  /** For good: from the first worker on, all are started in the same way. */
  #settle(method: Method, reason?: string): void {
    this.#method = method;
    this.#started = true;
    if (reason !== undefined) this.#warn(`workers run the script from its beginning: ${reason}`);
  }

  #startScript(workerId: number, boot: ScriptBoot, engine: Engine): Started {
    const result = engine.spawn(scriptSpec(workerId, boot, this.#settings.onManagerDeath));
    if ('handle' in result) return { type: 'started', handle: result.handle };
    if ('pending' in result) return { type: 'pending' };
    return { type: 'failed', problem: `${result.step} failed with ${result.code}` };
  }

  /** A pid, 0 in the child, or what was in the way. */
  async #fork(): Promise<unknown> {
    if (this.#binding === null)
      return preforkError('ERR_PREFORK_FORK_UNSUPPORTED', { reason: 'the js engine has no fork' });
    const { forkSafety: safety, onManagerDeath } = this.#settings;
    for (let tries = 1; ; tries++) {
      try {
        return forkProcess({ safety, ...(onManagerDeath === 'stop' && { deathSignal: 'SIGKILL' }) });
      } catch (error) {
        const unsafe = error instanceof PreforkError && error.code === 'ERR_PREFORK_FORK_UNSAFE';
        if (!unsafe || tries === FORK_TRIES) return error;
        await new Promise((resolve) => setTimeout(resolve, FORK_PAUSE_MS));
      }
    }
  }
}
