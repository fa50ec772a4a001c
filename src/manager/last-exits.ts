/** How the worker ended that was last in each slot, for those who ask for the status. */
import type { ExitStatus } from '../control/protocol';
import type { Command } from '../core/command';
import { MAX_WORKERS } from '../core/policy';
import { nowMs } from '../engine/clock';
import type { ManagerObserver } from './manager';
import { describeStatus } from './messages';

type Exit = Omit<ExitStatus, 'how' | 'agoMs'> & { readonly atMs: number };

/** Plain data, for the manager's successor. */
export type ExitsHandover = readonly (readonly [number, Exit])[];

export class LastExits implements ManagerObserver {
  readonly #bySlot: Map<number, Exit>;

  constructor(former: ExitsHandover = []) {
    this.#bySlot = new Map(former);
  }

  command(command: Command): void {
    if (command.type !== 'log' || command.entry.what !== 'worker-exited') return;
    const { workerId, slot, pid, status, expected } = command.entry;
    if (slot < MAX_WORKERS) this.#bySlot.set(slot, { workerId, pid, status, expected, atMs: nowMs() });
  }

  of(slot: number, now: number): ExitStatus | null {
    const exit = this.#bySlot.get(slot);
    if (exit === undefined) return null;
    const { atMs, ...fields } = exit;
    // Unknown statuses are told with a comma, for sentences.
    const how = describeStatus(exit.status).replace(/,$/, '');
    return { ...fields, how, agoMs: Math.max(0, Math.round(now - atMs)) };
  }

  handOver(): ExitsHandover {
    return [...this.#bySlot];
  }
}
