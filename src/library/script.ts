/** The start of a worker where it is not forked: the manager's own script from its beginning, which learns here that it is one. */
import { type Binding, loadBinding } from '../engine/binding';
import type { SpawnSpec } from '../engine/engine';
import { preforkError } from '../errors';
import { isAlive } from '../manager/pid-owner';
import type { RowState } from './board';

/** Holds {@link ScriptBoot} as JSON; taken out of the environment when the first Prefork is made. */
const VARIABLE = 'PREFORK_LIBRARY';
const CHANNEL = 'PREFORK_CHANNEL';

export interface ScriptBoot {
  /** which of the Preforks that the script makes, from 1 */
  readonly instance: number;
  readonly managerPid: number;
  readonly generation: number;
}

/** Worker to manager. */
export type ScriptMessage = { readonly prefork: RowState | 'tick' };

let instances = 0;

/** The number of a new Prefork, and what it is in this process where that is a worker of its. */
export function nextInstance(): { instance: number; boot: ScriptBoot | null } {
  instances++;
  const boot = readBoot();
  return { instance: instances, boot: boot?.instance === instances ? boot : null };
}

let read: ScriptBoot | null | undefined;

/** Whether this process was started as a worker of any Prefork of the script. */
export function readBoot(): ScriptBoot | null {
  if (read !== undefined) return read;
  const text = process.env[VARIABLE];
  delete process.env[VARIABLE];
  read = text === undefined ? null : (JSON.parse(text) as ScriptBoot);
  if (read === null || read.managerPid === process.ppid) return read;
  // Of a manager that is gone: this must not become another one. Of one that lives: a variable that a worker let through.
  if (!isAlive(read.managerPid)) process.exit(1);
  read = null;
  return read;
}

/** Throws `ERR_PREFORK_STATE` where there is no script. */
export function scriptSpec(workerId: number, boot: ScriptBoot, onManagerDeath: 'stop' | 'keep'): SpawnSpec {
  const [, script, ...args] = process.argv;
  if (script === undefined) {
    throw preforkError('ERR_PREFORK_STATE', {
      problem: 'workers that are not forked run the script of the manager, and this process has none',
    });
  }
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  return {
    workerId,
    file: process.execPath,
    args: [process.execPath, ...process.execArgv, script, ...args],
    env: { ...env, ...workerVariables(workerId, boot.generation), [VARIABLE]: JSON.stringify(boot) },
    inherit: [],
    channel: true,
    stdio: [0, 1, 2],
    setsid: false,
    dieWithManager: onManagerDeath === 'stop',
  };
}

/** By which a program sees that it is in a worker; the same in a forked one. */
export function workerVariables(workerId: number, generation: number): Record<string, string> {
  return { PREFORK_WORKER_ID: String(workerId), PREFORK_GENERATION: String(generation) };
}

/** The line to the manager. */
export class Reporter {
  readonly #binding: Binding | null;
  readonly #fd: number;

  private constructor(binding: Binding | null, fd: number) {
    this.#binding = binding;
    this.#fd = fd;
  }

  /** From the environment; `keeps`: this worker outlives its manager. */
  static open(keeps: boolean): Reporter {
    const fd = Number(/^fd:(\d+)$/.exec(process.env[CHANNEL] ?? '')?.[1] ?? -1);
    delete process.env[CHANNEL];
    const { binding } = fd >= 0 ? loadBinding() : { binding: null };
    binding?.setCloexec(fd);
    // The native engine has the kernel end it.
    if (fd < 0 && !keeps) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
    return new Reporter(binding, fd);
  }

  /** What does not arrive is said again by the next change. */
  send(message: ScriptMessage): void {
    if (this.#binding !== null) {
      this.#binding.sendMessage(this.#fd, Buffer.from(JSON.stringify(message)), []);
    } else if (process.connected) {
      process.send?.(message, undefined, {}, () => {});
    }
  }
}
