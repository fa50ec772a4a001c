/** Signals by name or number. */
import { constants } from 'node:os';

/** A name ('SIGTERM') or a number (for the real-time signals, which have no names here). */
export type SignalArgument = NodeJS.Signals | number;

/** @throws TypeError for what is not a signal of this platform. 0, which only asks whether a process exists, passes */
export function toSignalNumber(signal: SignalArgument): number {
  const number = typeof signal === 'number' ? signal : constants.signals[signal];
  if (Number.isInteger(number) && number >= 0 && number <= 64) return number;
  throw new TypeError(`signal must be the name or number of a signal, not ${JSON.stringify(signal)}`);
}
