/** Where a process is that gives no sign of life: stopped, in a system call, or in JavaScript that does not end. */
import { setTimeout as pause } from 'node:timers/promises';
import { pausedStack, type Stack } from './paused';
import { activity, catchesUsr1, loopbackPorts, processState, waitingIn } from './process-state';

/** For all of it: whoever is asked to serve in its place should not wait. */
const LIMIT_MS = 2000;
/** One that has done nothing for so long is not between two system calls. */
const WAIT_MS = 50;
const POLL_MS = 10;

export type Stuck =
  /** by SIGSTOP, or by a debugger */
  | { readonly kind: 'stopped' }
  /** `call` as in `read(2) of descriptor 17 (/tmp/fifo)` */
  | { readonly kind: 'waits'; readonly call: string }
  /** stack: null, and `reason` says why there is none */
  | { readonly kind: 'runs'; readonly stack: Stack | null; readonly reason: string | null };

/**
 * Takes two seconds at most, and never rejects.
 *
 * @param openInspector sends it SIGUSR1, by which Node opens its inspector on a port of 127.0.0.1; null: that is not wanted, or
 * the program has other uses for the signal
 */
export async function findStuck(pid: number, openInspector: (() => void) | null): Promise<Stuck> {
  const state = processState(pid);
  if (state === 'T' || state === 't') return { kind: 'stopped' };
  const before = activity(pid);
  await pause(WAIT_MS);
  const call = waitingIn(pid);
  if (call !== null && before !== null && activity(pid) === before) return { kind: 'waits', call };
  if (openInspector === null) return { kind: 'runs', stack: null, reason: 'SIGUSR1 is not for us to send' };
  if (!catchesUsr1(pid)) return { kind: 'runs', stack: null, reason: 'SIGUSR1 would end it' };
  try {
    return { kind: 'runs', stack: await stackOf(pid, openInspector), reason: null };
  } catch (error) {
    return { kind: 'runs', stack: null, reason: (error as Error).message };
  }
}

async function stackOf(pid: number, openInspector: () => void): Promise<Stack> {
  const known = new Set(loopbackPorts(pid));
  const signal = AbortSignal.timeout(LIMIT_MS - WAIT_MS);
  openInspector();
  for (;;) {
    const port = loopbackPorts(pid).find((candidate) => !known.has(candidate));
    if (port !== undefined) return await pausedStack(port, signal);
    await pause(POLL_MS, undefined, { signal });
  }
}

/** To follow `worker 4711 `, on one line and, where there is a stack, a line a frame. */
export function describeStuck(stuck: Stuck): string {
  switch (stuck.kind) {
    case 'stopped':
      return 'it is stopped (SIGSTOP)';
    case 'waits':
      return `it waits in ${stuck.call}`;
    case 'runs':
      return stuck.stack === null
        ? `it does not let its event loop turn; where is unknown: ${stuck.reason}`
        : `it does not let its event loop turn:${stuck.stack.map((frame) => `\n    at ${frame}`).join('')}`;
  }
}
