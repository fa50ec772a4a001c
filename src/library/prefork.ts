/** `new Prefork()`: the public face. Light, so that importing the package costs nothing; what it does is in pool.ts. */
import type { Pool } from './pool';

/** What a signal to the manager sends to the workers: a signal; a signal to one worker now and one more an interval; null: nothing. */
export type TrapAction = string | readonly [signal: string, intervalMs: number | string] | null;

/** Durations are text with a unit (`'500ms'`) or a number of seconds. */
export interface PoolOptions {
  /** how many workers, 0 to 1024; 10 by default */
  maxWorkers?: number;
  /** as many workers without work as are kept ready at least; with it, `maxWorkers` is only the upper bound */
  minSpareWorkers?: number;
  /** with more workers without work than that, one is told to end; `maxWorkers` by default */
  maxSpareWorkers?: number;
  /** how often it is looked who is busy and who has ticked; 0.25 s by default */
  heartbeatInterval?: string | number;
  /** a worker that has called `tick()` and then not for so long is killed; 0, the default: none is */
  heartbeatTimeout?: string | number;
  /** by the name of the signal to the manager; `{ TERM: 'TERM' }` by default, null: none is trapped */
  trapSignals?: Readonly<Record<string, TrapAction>> | null;
  /** between one worker's start and the next; 0 by default */
  spawnInterval?: string | number;
  /** no worker is started for so long after one of this generation failed, or could not be started; 1 s by default */
  errRespawnInterval?: string | number;
  /** how long a hook is waited for; 10 s by default, 0: for ever */
  hookTimeout?: string | number;
  /** in the manager, before a worker is started */
  beforeFork?: (pm: Prefork) => unknown;
  /** in the manager, after a worker was started */
  afterFork?: (pm: Prefork, pid: number) => unknown;
  /** in the manager, when a worker has been reaped; `status` is the raw wait status, `$?` in Perl */
  onChildReap?: (pm: Prefork, pid: number, status: number) => unknown;
  /** told what goes wrong without ending anything; a warning of the process by default */
  onWarning?: (message: string) => void;
  /** 'native' where the addon loads, by default */
  engine?: 'native' | 'js';
  /** 'fork': a copy of this process, or an error; 'script': this script from its beginning. By default fork where it is possible and safe, else script */
  startMethod?: 'fork' | 'script';
  /** 'warn': fork although something is open that parent and child would share; 'refuse' by default */
  forkSafety?: 'refuse' | 'warn';
  /** 'keep': workers outlive a manager that is killed; 'stop' by default */
  onManagerDeath?: 'stop' | 'keep';
}

/**
 * A manager of one's own, as with Perl's Parallel::Prefork:
 *
 *     const pm = new Prefork({ maxWorkers: 10, trapSignals: { TERM: 'TERM', HUP: 'TERM' } });
 *     while (pm.signalReceived !== 'TERM') {
 *       const config = await loadConfig();
 *       if (await pm.start()) continue;
 *       await runWorker(config);
 *       pm.finish();
 *     }
 *     await pm.waitAllChildren();
 *
 * Signals are trapped from here on until {@link waitAllChildren} has returned 0.
 *
 * @throws PreforkError `ERR_PREFORK_OPTION_VALUE`, `ERR_PREFORK_OPTION_UNKNOWN`, `ERR_PREFORK_OPTION_CONFLICT`,
 *   `ERR_PREFORK_ADDON_MISSING` with `engine: 'native'`
 */
export class Prefork {
  readonly #pool: Pool;

  constructor(options: PoolOptions = {}) {
    const { Pool } = require('./pool') as typeof import('./pool');
    this.#pool = new Pool(this, options);
  }

  /**
   * Keeps the workers up until a signal comes that is trapped, and sends the workers theirs. A signal that came since the last
   * call counts. Resolves to true in the manager, and to false in each worker.
   *
   * With a callback the worker runs it, and ends when what it returns is settled: with 0, or with 1 if it failed. Then this
   * resolves in the manager alone.
   *
   * @throws PreforkError `ERR_PREFORK_STATE`: in a worker, or while another call waits; `ERR_PREFORK_FORK_UNSUPPORTED`,
   *   `ERR_PREFORK_FORK_UNSAFE` with `startMethod: 'fork'`
   */
  start(callback?: () => unknown): Promise<boolean> {
    return this.#pool.start(callback);
  }

  /**
   * Ends this worker.
   * @throws PreforkError `ERR_PREFORK_STATE` in the manager
   */
  finish(exitCode = 0): never {
    return this.#pool.finish(exitCode);
  }

  /** The signal that ended the last {@link start}, without SIG; '' before, and while it waits. */
  get signalReceived(): string {
    return this.#pool.signalReceived;
  }

  /** How often {@link start} was called. In a worker: the call that it comes from. */
  get generation(): number {
    return this.#pool.generation;
  }

  /** null before the first {@link start}. */
  get managerPid(): number | null {
    return this.#pool.managerPid;
  }

  /** Whether this process is one of the workers. */
  get isWorker(): boolean {
    return this.#pool.isWorker;
  }

  /** Started and not reaped yet. */
  get numWorkers(): number {
    return this.#pool.numWorkers;
  }

  /** Of those, the ones that are {@link setBusy}. */
  get numBusyWorkers(): number {
    return this.#pool.numBusyWorkers;
  }

  /** May be changed at any time; fewer than there are ends none. */
  get maxWorkers(): number {
    return this.#pool.maxWorkers;
  }

  set maxWorkers(count: number) {
    this.#pool.maxWorkers = count;
  }

  /** Sends a signal to every worker, in ascending order of pids. */
  signalAllChildren(signal: string): void {
    this.#pool.signalAllChildren(signal);
  }

  /**
   * Waits for the workers to end, and starts none. Resolves to how many are left.
   * @param timeoutMs without: until there is none; 0: does not wait
   * @throws PreforkError `ERR_PREFORK_STATE`: in a worker, or while another call waits
   */
  waitAllChildren(timeoutMs?: number): Promise<number> {
    return this.#pool.waitAllChildren(timeoutMs);
  }

  /**
   * For the loop of a worker, `while (pm.tick()) await work()`: a sign of life, and whether to go on. From the first call on,
   * TERM, QUIT and INT end the loop rather than the process, unless it has a handler of its own.
   *
   * @param finished this was the last time: false from now on
   * @throws PreforkError `ERR_PREFORK_STATE` in the manager
   */
  tick(finished = false): boolean {
    return this.#pool.tick(finished);
  }

  /** Of a worker: it has something to do, and counts no longer as a spare one. `ERR_PREFORK_STATE` in the manager. */
  setBusy(): void {
    this.#pool.setState('busy');
  }

  /** Of a worker: it waits for something to do, as after its start. `ERR_PREFORK_STATE` in the manager. */
  setIdle(): void {
    this.#pool.setState('idle');
  }
}
