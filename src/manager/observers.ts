/** Several observers as one. */
import type { ManagerObserver } from './manager';

/** Tells each of them, in this order. */
export function observers(...all: readonly ManagerObserver[]): ManagerObserver {
  return {
    command(command, state) {
      for (const one of all) one.command?.(command, state);
    },
    engineEvent(event, state) {
      for (const one of all) one.engineEvent?.(event, state);
    },
    turn(state) {
      for (const one of all) one.turn?.(state);
    },
  };
}
