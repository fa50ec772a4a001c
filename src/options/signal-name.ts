/** Names of signals as people write them: `TERM`, `term`, `SIGTERM`. */
import { constants } from 'node:os';
import { type Parsed, parsed, refused } from './result';

/** KILL and STOP cannot be handled, signal(7); CHLD is how the manager learns that a worker ended. */
const UNTRAPPABLE: ReadonlySet<string> = new Set(['SIGKILL', 'SIGSTOP', 'SIGCHLD']);

/** Reads a signal name, with or without SIG, in either case. */
export function parseSignal(text: string): Parsed<NodeJS.Signals> {
  const upper = text.trim().toUpperCase();
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  return Object.hasOwn(constants.signals, name)
    ? parsed(name as NodeJS.Signals)
    : refused('is not a signal of this system');
}

/** As {@link parseSignal}, for a signal that the manager is to handle. */
export function parseTrappable(text: string): Parsed<NodeJS.Signals> {
  const signal = parseSignal(text);
  return signal.ok && UNTRAPPABLE.has(signal.value) ? refused('cannot be trapped') : signal;
}
