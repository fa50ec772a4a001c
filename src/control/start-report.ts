/**
 * How a manager in the background tells the one who started it how its start went: one line of JSON over a socket that
 * it inherited. Whoever reads an end of file instead knows that the manager is gone.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import type { Command } from '../core/command';
import { exitCodes } from '../errors';
import type { ManagerObserver } from '../manager/manager';

/** Number of the descriptor in the manager; taken out of its environment. */
export const REPORT_VARIABLE = 'PREFORK_START_REPORT';

/** As JSON a character takes six bytes at most. */
export const MAX_REPORT_BYTES = 65_536;
const MAX_REASON_CHARS = 8_192;

export type Outcome =
  | { readonly ready: true; readonly pid: number; readonly message: string }
  | { readonly ready: false; readonly exitCode: number; readonly reason: string };

/** The outcome that was written; null: none. */
export function parseOutcome(text: string): Outcome | null {
  try {
    return JSON.parse(text) as Outcome;
  } catch {
    return null;
  }
}

export class StartReport implements ManagerObserver {
  #fd: number | null;
  #reason: string | null = null;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** null: this process was not started in the background. */
  static fromEnvironment(env: NodeJS.ProcessEnv = process.env): StartReport | null {
    const fd = Number(env[REPORT_VARIABLE]);
    delete env[REPORT_VARIABLE];
    return Number.isInteger(fd) && fd > 2 && isSocket(fd) ? new StartReport(fd) : null;
  }

  ready(message: string): void {
    this.#tell({ ready: true, pid: process.pid, message });
  }

  /** Nothing is said where it was ready before. */
  ended(exitCode: number): void {
    const reason = this.#reason ?? 'it was stopped before it was ready';
    // Whoever started it wants it to run: an end as asked by somebody else is no success.
    this.failed(exitCode === exitCodes.ok ? exitCodes.unusable : exitCode, reason);
  }

  failed(exitCode: number, reason: string): void {
    this.#tell({ ready: false, exitCode, reason: reason.slice(0, MAX_REASON_CHARS) });
  }

  command(command: Command): void {
    if (command.type === 'log' && command.entry.what === 'start-failed') this.#reason = command.entry.reason;
  }

  #tell(outcome: Outcome): void {
    if (this.#fd === null) return;
    try {
      writeSync(this.#fd, `${JSON.stringify(outcome)}\n`);
    } catch {
      // Nobody waits for it any more.
    }
    // After a failure it is the end of this process that closes it.
    if (outcome.ready) closeSync(this.#fd);
    this.#fd = null;
  }
}

/** Somebody may have set the variable by hand: then that descriptor is none of ours. */
function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}
