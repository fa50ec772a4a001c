/** The operating system of the virtual world: processes, signals, zombies, and few pids, so that they come again. */
import { constants } from 'node:os';
import type { Signal } from '../../src/engine/engine';
import type { Agenda } from './agenda';

/** One thing that a program does, so long after its start or after the signal that it answers. */
export type Act =
  | { afterMs: number; say: unknown }
  | { afterMs: number; exit: number }
  /** ends by the signal's default action */
  | { afterMs: number; raise: Signal };

/** What a process does. Plain data: a real process can act it out as well. */
export interface Program {
  acts: readonly Act[];
  /** by signal; one that is not named has its default action */
  on?: Readonly<Partial<Record<Signal, readonly Act[] | 'ignore'>>>;
  /** messages from the manager are sent back */
  echo?: boolean;
}

export interface Process {
  readonly workerId: number;
  readonly pid: number;
  program: Program;
  life: 'running' | 'zombie' | 'reaped';
  /** raw wait status */
  status: number;
  stopped: boolean;
  /** signals and acts that wait for SIGCONT */
  pending: Signal[];
  deferred: (() => void)[];
}

export type KernelEvent =
  | { what: 'said'; process: Process; message: unknown }
  | { what: 'ended' | 'stopped' | 'continued'; process: Process };

const IGNORED_BY_DEFAULT = new Set<Signal>(['SIGCHLD', 'SIGURG', 'SIGWINCH', 'SIGCONT']);
const STOPPING = new Set<Signal>(['SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU']);

export class Kernel {
  readonly agenda: Agenda;
  /** running ones and zombies, by pid */
  readonly table = new Map<number, Process>();
  readonly #pids: number;
  readonly #report: (event: KernelEvent) => void;
  #lastPid = 1;

  /** @param pids - how many pids there are, from 2 */
  constructor(agenda: Agenda, pids: number, report: (event: KernelEvent) => void) {
    this.agenda = agenda;
    this.#pids = pids;
    this.#report = report;
  }

  /** null: EAGAIN, no pid is free. */
  fork(workerId: number, program: Program): Process | null {
    const pid = this.#freePid();
    if (pid === null) return null;
    const process: Process = {
      workerId,
      pid,
      program,
      life: 'running',
      status: 0,
      stopped: false,
      pending: [],
      deferred: [],
    };
    this.table.set(pid, process);
    this.act(process, program.acts);
    return process;
  }

  act(process: Process, acts: readonly Act[]): void {
    for (const act of acts) this.agenda.after(act.afterMs, () => this.#do(process, act));
  }

  /** As kill(2): false where there is no such process; a zombie takes every signal. */
  kill(process: Process, signal: Signal): boolean {
    if (process.life === 'reaped') return false;
    if (process.life === 'zombie') return true;
    if (signal === 'SIGKILL') this.#end(process, constants.signals.SIGKILL);
    else if (signal === 'SIGCONT') this.#continue(process);
    else if (!process.stopped) this.#deliver(process, signal);
    // Standard signals do not queue.
    else if (!process.pending.includes(signal)) process.pending.push(signal);
    return true;
  }

  /** Takes the status; the pid is free again. */
  reap(process: Process): number {
    if (process.life !== 'zombie') throw new Error(`pid ${process.pid} cannot be reaped: ${process.life}`);
    process.life = 'reaped';
    this.table.delete(process.pid);
    return process.status;
  }

  #freePid(): number | null {
    for (let i = 0; i < this.#pids; i++) {
      this.#lastPid = this.#lastPid > this.#pids ? 2 : this.#lastPid + 1;
      if (!this.table.has(this.#lastPid)) return this.#lastPid;
    }
    return null;
  }

  #do(process: Process, act: Act): void {
    if (process.life !== 'running') return;
    if (process.stopped) {
      process.deferred.push(() => this.#do(process, act));
    } else if ('say' in act) {
      this.#report({ what: 'said', process, message: act.say });
    } else if ('exit' in act) {
      this.#end(process, act.exit << 8);
    } else {
      this.#end(process, constants.signals[act.raise]);
    }
  }

  #deliver(process: Process, signal: Signal): void {
    const answer = signal === 'SIGSTOP' ? undefined : process.program.on?.[signal];
    if (answer === 'ignore') return;
    if (answer !== undefined) this.act(process, answer);
    else if (STOPPING.has(signal)) this.#stop(process);
    else if (!IGNORED_BY_DEFAULT.has(signal)) this.#end(process, constants.signals[signal]);
  }

  #stop(process: Process): void {
    process.stopped = true;
    this.#report({ what: 'stopped', process });
  }

  #continue(process: Process): void {
    if (process.stopped) {
      process.stopped = false;
      this.#report({ what: 'continued', process });
      for (const run of process.deferred.splice(0)) run();
      for (const signal of process.pending.splice(0)) if (!STOPPING.has(signal)) this.kill(process, signal);
    }
    if (process.life === 'running' && process.program.on?.SIGCONT !== undefined)
      this.#deliver(process, 'SIGCONT');
  }

  #end(process: Process, status: number): void {
    process.life = 'zombie';
    process.status = status;
    this.#report({ what: 'ended', process });
  }
}
