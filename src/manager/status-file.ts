/** The status file of Server::Starter: a line `generation:pid` a worker, sorted as text, replaced in one piece. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import type { State } from '../core/state';

export function statusLines(state: State): string {
  const lines = state.workers.filter((w) => w.pid !== null).map((w) => `${w.generation}:${w.pid}`);
  return lines
    .sort()
    .map((line) => `${line}\n`)
    .join('');
}

export class StatusFile {
  readonly #path: string;
  #written: string | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** Throws what writeFileSync and renameSync throw. */
  write(state: State): void {
    const text = statusLines(state);
    if (text === this.#written) return;
    const temporary = `${this.#path}.${process.pid}`;
    writeFileSync(temporary, text);
    renameSync(temporary, this.#path);
    this.#written = text;
  }

  /** Only what we wrote. */
  remove(): void {
    if (this.#written !== null) rmSync(this.#path, { force: true });
  }
}
