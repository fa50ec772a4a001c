/** What Node and libraries remember of the process that they are in, put right in a forked child. */
import type { Binding } from '../engine/binding';
import type { RandomState } from './random';

/** Runs in the child before anything else does. */
export function repairChild(binding: Binding, random: RandomState): void {
  random.refresh();
  // A copy, made when Node started. process.ppid asks the kernel.
  Object.defineProperty(process, 'pid', {
    value: binding.getpid(),
    writable: false,
    enumerable: true,
    configurable: true,
  });
  restartUptime();
}

/** Node counts from the start of the process that was forked. performance.timeOrigin stays: entries refer to it. */
function restartUptime(): void {
  const sinceStart = process.uptime;
  const forkedAt = sinceStart();
  process.uptime = function uptime() {
    return sinceStart() - forkedAt;
  };
}
