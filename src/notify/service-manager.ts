/** Tells the service manager (systemd, or who speaks its protocol) how the manager is: readiness, reloads, stops, life signs. */
import type { Command } from '../core/command';
import type { Event } from '../core/event';
import type { State } from '../core/state';
import type { ManagerObserver } from '../manager/manager';
import type { Notifier } from './notifier';

/** Twice in each period, as sd_watchdog_enabled(3) recommends. */
const WATCHDOG_SHARE = 0.5;

export class ServiceManagerLink implements ManagerObserver {
  readonly #notifier: Pick<Notifier, 'send' | 'close'>;
  readonly #post: (event: Event) => void;
  readonly #timer: NodeJS.Timeout | null;
  #watchdogDue = false;
  #status = '';

  /** `post`: has the manager's loop do a turn, which is what a life sign means. */
  constructor(
    notifier: Pick<Notifier, 'send' | 'close'>,
    post: (event: Event) => void,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.#notifier = notifier;
    this.#post = post;
    const everyMs = watchdogMs(env);
    this.#timer = everyMs === null ? null : setInterval(() => this.#askForTurn(), everyMs * WATCHDOG_SHARE);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#notifier.close();
  }

  command(command: Command, { started }: State): void {
    switch (command.type) {
      case 'started':
        return this.#notifier.send('READY=1', `MAINPID=${process.pid}`);
      case 'reloadConfig':
        // Before that it is the start that is waited for.
        if (started) this.#notifier.send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
        return;
      case 'rolloutEnded':
        if (started) this.#notifier.send('READY=1');
        return;
      case 'log':
        if (command.entry.what === 'stopping') this.#notifier.send('STOPPING=1');
        return;
      default:
        return;
    }
  }

  turn(state: State): void {
    const status = statusLine(state);
    if (status !== this.#status) {
      this.#status = status;
      this.#notifier.send(`STATUS=${status}`);
    }
    if (!this.#watchdogDue) return;
    this.#watchdogDue = false;
    this.#notifier.send('WATCHDOG=1');
  }

  #askForTurn(): void {
    this.#watchdogDue = true;
    this.#post({ type: 'tick' });
  }
}

/** Between two life signs at most; null: none are wanted of this process. sd_watchdog_enabled(3) */
export function watchdogMs({ WATCHDOG_USEC: usec, WATCHDOG_PID: pid }: NodeJS.ProcessEnv): number | null {
  const ms = Number(usec) / 1000;
  if (!(ms > 0 && ms <= 0x7fffffff)) return null;
  return pid === undefined || pid === '' || pid === String(process.pid) ? ms : null;
}

function statusLine({ phase, started, generation, rollout, desired, workers }: State): string {
  const ready = workers.filter((w) => w.phase === 'ready').length;
  if (phase !== 'running') return `Stopping, ${workers.length} workers left`;
  const of = `${ready} of ${desired} workers ready`;
  if (!started) return `Starting, ${of}`;
  return `Generation ${generation}, ${of}${rollout === null ? '' : `; generation ${rollout.generation} is starting`}`;
}
