/**
 * With one socket a slot, a slot without a worker that accepts must not be left alone: the kernel goes on giving its
 * socket a share of the connections. Says, purely, which worker accepts for which slot.
 */
import type { State, WorkerState } from '../core/state';

/** `${key} ${slot}` → the id of the worker of another slot that accepts there. */
export type Adoptions = ReadonlyMap<string, number>;

export interface SlotSocket {
  readonly key: string;
  readonly slot: number;
}

export const adoptionKey = ({ key, slot }: SlotSocket): string => `${key} ${slot}`;

/** Who should accept for the sockets whose own slot has nobody. Keeps a present adopter where it still serves. */
export function adoptions(
  state: State,
  sockets: readonly SlotSocket[],
  present: Adoptions,
): Map<string, number> {
  const wanted = new Map<string, number>();
  const load = new Map<number, number>();
  for (const socket of sockets) {
    const serving = state.workers.filter((w) => accepts(w, socket.key));
    if (serving.some((w) => w.slot === socket.slot)) continue;
    const name = adoptionKey(socket);
    const current = serving.find((w) => w.id === present.get(name));
    const chosen = current ?? leastLoaded(serving, load);
    if (chosen === undefined) continue;
    wanted.set(name, chosen.id);
    load.set(chosen.id, (load.get(chosen.id) ?? 0) + 1);
  }
  return wanted;
}

const accepts = (w: WorkerState, key: string): boolean =>
  w.phase === 'ready' && !w.stopped && w.listening.includes(key);

function leastLoaded(
  workers: readonly WorkerState[],
  load: ReadonlyMap<number, number>,
): WorkerState | undefined {
  let best: WorkerState | undefined;
  for (const w of workers) {
    if (best === undefined || (load.get(w.id) ?? 0) < (load.get(best.id) ?? 0)) best = w;
  }
  return best;
}
