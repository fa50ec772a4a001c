/** `createManager()`: the public face. Light, so that importing the package costs nothing; what it does is in managed.ts. */
import type { PreforkOptions } from '../options/schema';
import type { ManagedService } from './managed';

/** As in a configuration file, and what the command line says besides. */
export interface ManagerOptions extends Omit<PreforkOptions, 'trapSignals'> {
  /** the program that the workers run */
  entry: string;
  /** its arguments */
  args?: readonly string[];
  /** signals that the manager answers; null, and neither this nor `signals`: none */
  trapSignals?: Readonly<Record<string, string>> | null | undefined;
  /** how long a hook is waited for; 10 s by default, 0: for ever */
  hookTimeout?: string | number;
}

/** A worker, at the moment of an event. */
export interface ManagedWorker {
  readonly workerId: number;
  readonly slot: number;
  readonly generation: number;
  readonly pid: number;
}

/** How a worker ended. */
export interface ManagedExit {
  /** null: by a signal */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** the raw wait status; −1: not known */
  readonly status: number;
  /** it had been told to leave */
  readonly expected: boolean;
  readonly wasReady: boolean;
}

/** How a reload ended. */
export interface ReloadOutcome {
  /** the new generation */
  readonly generation: number;
  /** false: the old one serves as before */
  readonly ok: boolean;
  readonly reason: string | null;
}

/**
 * Hooks are listeners that may return a promise. The first worker waits for those of `startup`, the end of the manager for
 * those of `finish`, the loop for none. What they throw, or that they are not done in time, is logged.
 */
export interface ManagerEvents {
  /** everything is open, and the first worker about to be started */
  startup: [];
  spawn: [worker: ManagedWorker];
  ready: [worker: ManagedWorker];
  /** it has given a sign of life since the last look, twice a second */
  heartbeat: [worker: ManagedWorker];
  reap: [worker: ManagedWorker, exit: ManagedExit];
  /** the manager has done all that it knew of, and waits */
  waitup: [];
  reload: [outcome: ReloadOutcome];
  /** a stop has begun */
  finish: [graceful: boolean];
}

/**
 * Makes a manager for this program: what `prefork run` does, without being a process of its own. The program's children,
 * signals and output stay its own.
 *
 *     const manager = createManager({ entry: './server.js', workers: 4, bind: 8080 });
 *     manager.on('reap', (worker, { exitCode }) => console.log(worker.pid, exitCode));
 *     await manager.start();
 *     await manager.stop();
 *
 * @throws PreforkError `ERR_PREFORK_ENTRY`, `ERR_PREFORK_OPTION_CONFLICT`, `ERR_PREFORK_OPTION_VALUE`; other options are checked
 *   by `start()`, which rejects with the same codes
 */
export function createManager(options: ManagerOptions): ManagedService {
  const { ManagedService } = require('./managed') as typeof import('./managed');
  return new ManagedService(options);
}
