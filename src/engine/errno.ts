/** Names and numbers of errors and signals, from the C library that Node was built with. */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import type { Signal } from './engine';

/** −2 → 'ENOENT'. */
export function errnoCode(errno: number): string {
  return getSystemErrorMap().get(errno)?.[0] ?? nameInC(errno) ?? `E${-errno}`;
}

/** libuv has no ENOEXEC, for one. */
function nameInC(errno: number): string | undefined {
  return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0];
}

/** 'ENOENT' → −2. */
export function errnoNumber(code: string): number {
  const positive = (constants.errno as Record<string, number | undefined>)[code];
  return positive === undefined ? -constants.errno.EIO : -positive;
}

/** 'ENOENT' → 'no such file or directory'. */
export function errnoText(code: string): string {
  return getSystemErrorMap().get(errnoNumber(code))?.[1] ?? code;
}

export function signalNumber(signal: Signal): number {
  return constants.signals[signal];
}

const names = new Map<number, Signal>();
for (const [name, number] of Object.entries(constants.signals) as [Signal, number][]) {
  // Some numbers have two names; the first is the usual one (SIGIOT and SIGPOLL come after SIGABRT and SIGIO).
  if (!names.has(number)) names.set(number, name);
}

export function signalName(number: number): Signal | null {
  return names.get(number) ?? null;
}

/** The wait status of a process that somebody else reaped. */
export const UNKNOWN_STATUS = -1;

/** What a raw wait status says, as WIFEXITED and WTERMSIG of wait(2) do. */
export function decodeStatus(status: number): { exitCode: number | null; signal: Signal | null } {
  if (status === UNKNOWN_STATUS) return { exitCode: null, signal: null };
  const signal = status & 0x7f;
  return signal === 0
    ? { exitCode: (status >> 8) & 0xff, signal: null }
    : { exitCode: null, signal: signalName(signal) };
}
