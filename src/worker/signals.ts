/** The stop signals: ours where the program has no handler of its own. */
import { intercept } from './processEvents';

export interface StopEvents {
  /** before the program's handlers run */
  onSignal(): void;
  /** the program has no handler */
  onUnhandled(signal: string): void;
}

/**
 * A listener has to stand, or the signal ends the process. It is left out of `process.listeners()`: signal-exit, which many
 * packages use, takes the presence of another listener for a handler that will end the process.
 */
export function watchStopSignals(signals: readonly NodeJS.Signals[], events: StopEvents): void {
  const arm = () => {};
  for (const signal of signals) {
    // Before the listener: Node binds the signal to the emit() of that moment.
    intercept(signal, () => {
      const handled = process.listenerCount(signal) > 1;
      events.onSignal();
      if (!handled) events.onUnhandled(signal);
      return !handled;
    });
    process.on(signal, arm);
  }
  const isStop = (event: string | symbol) => signals.some((signal) => signal === event);
  process.on('removeListener', (event, listener) => {
    if (isStop(event) && listener === arm) process.on(event as NodeJS.Signals, arm);
  });
  const listeners = process.listeners as (event: string | symbol) => unknown[];
  (process as { listeners: typeof listeners }).listeners = (event) => {
    const all = listeners.call(process, event);
    return isStop(event) ? all.filter((listener) => listener !== arm) : all;
  };
}
