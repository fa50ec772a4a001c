/**
 * Many forks from one forkserver. Each worker does something of everything and leaves; every one must end in time with the status
 * that it was told.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitOf, Forkserver } from '../forkserver';
import { root } from '../root';

/** Far more than a worker takes on a machine that is busy with other things. */
const WORKER_MS = 240_000;

export interface Progress {
  done: number;
  failures: string[];
}

export interface SoakOptions {
  readonly node: string;
  readonly forks: number;
  /** workers at once */
  readonly parallel: number;
  /** where it goes on */
  readonly progress?: Progress;
  /** called when the progress has changed */
  readonly onProgress?: (progress: Progress) => void;
}

export async function soak(options: SoakOptions): Promise<Progress> {
  const run = new Soak(options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #server: Forkserver;
  readonly #progress: Progress;
  #started: number;

  constructor(options: SoakOptions) {
    this.#options = options;
    this.#progress = options.progress ?? { done: 0, failures: [] };
    this.#started = this.#progress.done;
    this.#server = new Forkserver(join(root, 'test', 'fork', 'soak', 'app.cjs'), { node: options.node });
  }

  async run(): Promise<Progress> {
    if (this.#progress.done < this.#options.forks) {
      await this.#server.inbox.take('frozen');
      await Promise.all(Array.from({ length: this.#options.parallel }, () => this.#lane()));
    }
    const output = this.#server.stderr;
    if (output !== '') this.#fail(`printed ${output.slice(-2000)}`);
    return this.#progress;
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  async #lane(): Promise<void> {
    while (this.#started < this.#options.forks && this.#progress.failures.length === 0) {
      const index = this.#started++;
      const failure = await this.#one(index);
      if (failure !== null) return this.#fail(`fork ${index}: ${failure}`);
      this.#progress.done++;
      this.#options.onProgress?.(this.#progress);
    }
  }

  /** null: as it should be. */
  async #one(index: number): Promise<string | null> {
    const code = index % 200;
    const worker = await this.#server.fork({
      SOAK_CODE: String(code),
      SOAK_LEAVE: index % 2 === 0 ? 'exit' : 'naturally',
    });
    const late = AbortSignal.timeout(WORKER_MS);
    const tooLate = new Promise<null>((resolve) => late.addEventListener('abort', () => resolve(null)));
    const result = await Promise.race([worker.ended, tooLate]);
    if (result === null) return `worker ${worker.pid} did not end:\n${threadsOf(worker.pid).join('\n')}`;
    return exitOf(result) === code ? null : `ended with ${exitOf(result)} instead of ${code}`;
  }

  #fail(failure: string): void {
    this.#progress.failures.push(failure);
    this.#options.onProgress?.(this.#progress);
  }
}

/** What each thread is doing: name, state, system call with its arguments, stack and program counter. */
function threadsOf(pid: number): string[] {
  const read = (tid: string, name: string) =>
    readFileSync(`/proc/${pid}/task/${tid}/${name}`, 'latin1').trim();
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) => `${read(tid, 'stat')}: ${read(tid, 'syscall')}`);
  } catch (error) {
    return [String(error)];
  }
}
