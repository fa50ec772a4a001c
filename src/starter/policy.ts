/** `start_server` in the terms of the core: one slot, any command, ready when alive after the interval. */
import { defaultPolicy, type Policy, type SignalTable, starterSignals } from '../core/policy';
import type { TimedSettings } from './environment';
import type { StarterOptions } from './options';

/**
 * USR1 would open Node's debugger if nobody listened for it, and QUIT and USR2 would end the manager without its
 * workers: passed over instead.
 */
const signals: SignalTable = {
  ...starterSignals,
  SIGQUIT: { do: 'ignore' },
  SIGUSR1: { do: 'ignore' },
  SIGUSR2: { do: 'ignore' },
};

type Wanted = Pick<StarterOptions, 'intervalMs' | 'signalOnHup' | 'signalOnTerm' | 'killTimeoutMs'>;

export function starterPolicy(options: Wanted, settings: TimedSettings): Policy {
  return {
    ...defaultPolicy,
    workers: 1,
    ready: 'start',
    startIntervalMs: options.intervalMs,
    readyTimeoutMs: null,
    gracefulTimeoutMs: options.killTimeoutMs,
    killOldDelayMs: settings.killOldDelayMs,
    drainSignal: options.signalOnHup,
    stopSignal: options.signalOnTerm,
    rollout: 'surge',
    firstFailureExits: false,
    retryRollout: true,
    generationPerSpawn: true,
    drainAgain: true,
    backoffBaseMs: 0,
    secondStop: 'forward',
    autoRestartIntervalMs: settings.autoRestartIntervalMs,
    signals,
  };
}
