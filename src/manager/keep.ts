/**
 * `--on-manager-death keep`: workers that go on serving when their manager is killed, and what a manager that comes after
 * it does with them.
 */
import { controlPath } from '../control/locate';
import type { Command } from '../core/command';
import { stateWithKept } from '../core/kept';
import type { State } from '../core/state';
import { nowMs } from '../engine/clock';
import type { NativeEngine } from '../engine/native';
import type { RunOptions } from '../options/load';
import type { WorkerBoot } from '../worker/protocol';
import type { Guest } from './lobby';
import type { Log } from './log';
import type { ManagerHandover, ManagerObserver } from './manager';
import { readText } from './read-text';
import type { GenerationPlan } from './service';
import { hasTerminal } from './signal-queue';
import { StatusFile } from './status-file';

/** Where workers look for a new manager when this one was killed; null: they end with it. */
export function keepOf(options: RunOptions): NonNullable<WorkerBoot['keep']> | null {
  const control = options.onManagerDeath === 'keep' ? controlPath(options) : null;
  return control === null ? null : { control, reusePort: options.reusePort };
}

/** Beside the control socket: a status file, from which the next manager learns whom to wait for. */
const fileOf = (control: string): string => `${control}.workers`;

/** Keeps that file: removed at a regular end, and left by a kill. */
export class KeptWorkers implements ManagerObserver {
  readonly #file: StatusFile;
  readonly #log: Log;

  private constructor(control: string, log: Log) {
    this.#file = new StatusFile(fileOf(control));
    this.#log = log;
  }

  /** null: workers end with the manager. */
  static of(options: RunOptions, log: Log): KeptWorkers | null {
    const keep = keepOf(options);
    return keep && new KeptWorkers(keep.control, log);
  }

  command(command: Command, state: State): void {
    if (command.type !== 'publishStatus') return;
    try {
      this.#file.write(state);
    } catch (err) {
      this.#log.error({ err }, 'cannot write down which workers there are');
    }
  }

  close(): void {
    this.#file.remove();
  }
}

/** Pids of the workers of a manager that was killed, as far as they live and are to be kept. */
export function keptWorkers(options: RunOptions): number[] {
  const keep = keepOf(options);
  if (keep === null) return [];
  const lines = readText(fileOf(keep.control)).matchAll(/^\d+:(\d+)$/gm);
  return [...lines].map(([, pid]) => Number(pid)).filter(isWorker);
}

/** Of a worker that lives, and not of somebody who has got its pid since. */
export function isWorker(pid: number): boolean {
  return readText(`/proc/${pid}/environ`).includes('PREFORK_GENERATION=');
}

/** What a manager begins with that finds workers: they serve until its own do. null: it found none. */
export function welcome(
  guests: readonly Guest[],
  engine: NativeEngine,
  plan: GenerationPlan,
  log: Log,
): ManagerHandover | null {
  if (guests.length === 0) return null;
  const pids = guests.map(({ pid }) => pid);
  const message = `${pids.length} workers of a manager that is gone go on serving: ${pids.join(' ')}`;
  log.info({ event: 'workers-found', pids }, message);
  for (const { workerId, pid, pidfd, channel } of guests) {
    engine.adoptForeign(workerId, pid, pidfd, channel);
  }
  const state = stateWithKept(plan.policy, nowMs(), process.pid, guests);
  const workers = guests.map(({ workerId, pid, generation, slot }) => {
    return { workerId, pid, generation, slot, lastWords: null };
  });
  const plans = [[state.generation, plan] as const];
  return { state, plans, workers, adoptions: [], hadTerminal: hasTerminal(), events: [] };
}
