/** Follows the core's commands and says in Server::Starter's words what happens. */
import type { Command, LogEntry } from '../core/command';
import type { State, WorkerState } from '../core/state';
import { starterLines } from './log-lines';
import type { StatusFile } from './status';

export class Reporter {
  readonly #say: (line: string) => void;
  readonly #status: StatusFile | null;
  #stopping = false;
  /** generation of the worker that is counted on */
  #current = 0;
  /** the rollout that begins is the clock's, not HUP's */
  #byAge = false;
  /** old workers have not been told yet */
  #oldWait = false;

  constructor(say: (line: string) => void, status: StatusFile | null) {
    this.#say = say;
    this.#status = status;
  }

  /** To be called after each command, with the state that gave it. */
  command(command: Command, state: State): void {
    if (command.type === 'log') this.#entry(command.entry, state);
    else if (command.type === 'publishStatus') this.#publish(state);
    else if (command.type === 'exit') this.#say(starterLines.exiting());
  }

  #publish(state: State): void {
    try {
      this.#status?.update(state);
    } catch (error) {
      this.#say(`failed to write the status file:${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #entry(entry: LogEntry, state: State): void {
    switch (entry.what) {
      case 'worker-spawned':
        if (entry.generation !== state.rollout?.generation) this.#current = entry.generation;
        return this.#say(starterLines.startingWorker(entry.pid));
      case 'worker-exited':
        return this.#exited(entry, state);
      case 'spawn-failed':
        return this.#say(starterLines.forkFailed(entry.code, Math.ceil((entry.retryInMs ?? 0) / 1000)));
      case 'auto-restart':
        this.#byAge = true;
        return this.#say(starterLines.autoRestart(entry.intervalMs / 1000, entry.forced));
      case 'rollout-started':
        if (!this.#byAge) this.#say(starterLines.receivedHup());
        this.#byAge = false;
        return;
      case 'rollout-committed':
        return this.#committed(state);
      case 'worker-leaving':
        if (entry.reason === 'rollout' && this.#oldWait) this.#say(starterLines.killingOld());
        if (entry.reason === 'rollout') this.#oldWait = false;
        return;
      case 'worker-killed':
        return this.#say(starterLines.killed(entry.pid ?? 0));
      case 'signal':
        // The first is told of as `stopping`; further ones are passed on.
        if (this.#stopping && entry.signal !== 'SIGHUP') this.#stop(entry.signal, state);
        return;
      case 'stopping':
        this.#stopping = true;
        return this.#stop(entry.signal ?? 'SIGTERM', state);
      default:
        return;
    }
  }

  #exited(entry: Extract<LogEntry, { what: 'worker-exited' }>, state: State): void {
    const { status, generation, wasReady, expected } = entry;
    const pid = entry.pid ?? 0;
    if (this.#stopping) {
      this.#say(starterLines.workerDied(pid, status));
    } else if (!wasReady && !expected) {
      this.#say(starterLines.failedToStart(pid, status));
      this.#status?.touch();
    } else if (generation === this.#current && state.rollout === null && !expected) {
      this.#say(starterLines.diedUnexpectedly(pid, status));
    } else {
      // One that dies while its successor starts is not replaced: that is under way.
      this.#say(starterLines.oldWorkerDied(pid, status));
    }
  }

  #committed(state: State): void {
    const { policy, generation } = state;
    this.#current = generation;
    const old = pidsOf(state, (w) => w.generation !== generation);
    this.#say(starterLines.newWorkerRuns(policy.drainSignal, old));
    if (policy.killOldDelayMs > 0) this.#say(starterLines.sleeping(policy.killOldDelayMs / 1000));
    this.#oldWait = true;
  }

  #stop(received: NodeJS.Signals, state: State): void {
    const sent = state.stop?.signal ?? state.policy.stopSignal;
    this.#say(
      starterLines.stopping(
        received,
        sent,
        pidsOf(state, () => true),
      ),
    );
  }
}

function pidsOf({ workers }: State, which: (w: WorkerState) => boolean): number[] {
  return workers.flatMap((w) => (w.pid !== null && which(w) ? [w.pid] : []));
}
