/** The status file: a line `generation:pid` a worker that has proved itself, sorted as text, replaced in one piece. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { State } from '../core/state';
import { fileError } from './system-errors';

/** The text for these workers; one that is still within its interval is not told of. */
export function statusText({ workers }: Pick<State, 'workers'>): string {
  return workers
    .filter(({ pid, readyAtMs }) => pid !== null && readyAtMs !== null)
    .map(({ generation, pid }) => `${generation}:${pid}\n`)
    .sort()
    .join('');
}

/** Generations in the text of a status file. */
export function generationsIn(text: string): number[] {
  return text.split('\n').flatMap((line) => {
    const generation = /^([0-9]{1,15}):[0-9]+$/.exec(line)?.[1];
    return generation === undefined ? [] : [Number(generation)];
  });
}

export class StatusFile {
  readonly #path: string;
  readonly #temporary: string;
  #text = '';

  constructor(path: string) {
    this.#path = path;
    this.#temporary = `${path}.${process.pid}`;
  }

  /** @throws StarterExit, with the errno, where no file can be made there */
  check(): void {
    try {
      writeFileSync(this.#temporary, '');
      rmSync(this.#temporary);
    } catch (error) {
      throw fileError(error, `failed to create temporary file:${this.#temporary}:`);
    }
  }

  /** Throws what writeFileSync and renameSync throw. */
  update(state: State): void {
    const text = statusText(state);
    // With nobody running, whoever was last stays until the next one runs.
    if (text === this.#text || text === '') return;
    this.#text = text;
    this.#replace();
  }

  /** The same again: its new inode tells those who wait in `--restart` that an attempt has failed. */
  touch(): void {
    if (this.#text !== '') this.#replace();
  }

  /** Only what we wrote. */
  remove(): void {
    if (this.#text !== '') rmSync(this.#path, { force: true });
  }

  #replace(): void {
    writeFileSync(this.#temporary, this.#text);
    renameSync(this.#temporary, this.#path);
  }
}

/** @throws StarterExit, with the errno, where it cannot be read */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError(error, `failed to open file:${path}:`);
  }
}
