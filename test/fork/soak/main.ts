/**
 * `npm run soak`: many forks from one forkserver, with each version of Node. Each worker does something of everything and leaves;
 * every one must end in time with the status that it was told. Goes on where it was interrupted.
 *   SOAK_FORKS=n        for each version; default 2,000
 *   SOAK_NODES=a:b:c    paths; default the running one
 *   SOAK_STATE=file     counts so far; default node_modules/.cache/prefork-soak.json
 *   SOAK_PARALLEL=n     workers at once; default 4
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitOf, Forkserver } from '../forkserver';
import { root } from '../root';

const WORKER_MS = 60_000;
const REPORT_EVERY = 100;

interface Progress {
  done: number;
  failures: string[];
}

type State = Record<string, Progress>;

const stateFile = process.env.SOAK_STATE ?? join(root, 'node_modules', '.cache', 'prefork-soak.json');
const wanted = Number(process.env.SOAK_FORKS ?? 2000);
const parallel = Number(process.env.SOAK_PARALLEL ?? 4);

class Soak {
  readonly #version: string;
  readonly #server: Forkserver;
  readonly #state: State;
  readonly #progress: Progress;
  #started: number;

  constructor(node: string, state: State) {
    this.#version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
    state[this.#version] ??= { done: 0, failures: [] };
    this.#state = state;
    this.#progress = state[this.#version] as Progress;
    this.#started = this.#progress.done;
    this.#server = new Forkserver(join(root, 'test', 'fork', 'soak', 'app.cjs'), { node });
  }

  async run(): Promise<boolean> {
    if (this.#progress.done < wanted) {
      await this.#server.inbox.take('frozen');
      await Promise.all(Array.from({ length: parallel }, () => this.#lane()));
    }
    const output = this.#server.stderr;
    if (output !== '') this.#fail(`printed ${output.slice(-2000)}`);
    await this.#server.close();
    this.#report();
    return this.#progress.failures.length === 0;
  }

  async #lane(): Promise<void> {
    while (this.#started < wanted && this.#progress.failures.length === 0) {
      const index = this.#started++;
      const failure = await this.#one(index);
      if (failure !== null) return this.#fail(`fork ${index}: ${failure}`);
      this.#progress.done++;
      if (this.#progress.done % REPORT_EVERY === 0) this.#report();
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
    if (result === null) return `worker ${worker.pid} did not end`;
    return exitOf(result) === code ? null : `ended with ${exitOf(result)} instead of ${code}`;
  }

  #fail(failure: string): void {
    this.#progress.failures.push(failure);
    this.#save();
  }

  #report(): void {
    this.#save();
    const { done, failures } = this.#progress;
    console.log(
      `${this.#version}: ${done} of ${wanted}${failures.map((failure) => `\n  ${failure}`).join('')}`,
    );
  }

  #save(): void {
    writeFileSync(stateFile, JSON.stringify(this.#state));
  }
}

function load(): State {
  try {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as State;
  } catch {
    return {};
  }
}

async function main(): Promise<void> {
  const state = load();
  let well = true;
  for (const node of (process.env.SOAK_NODES ?? process.execPath).split(':')) {
    well = (await new Soak(node, state).run()) && well;
  }
  process.exitCode = well ? 0 : 1;
}

void main();
