/** `prefork top`: asks the manager again and again, and shows what it says. */
import { setTimeout as pause } from 'node:timers/promises';
import { ReadStream, WriteStream } from 'node:tty';
import { ControlClient } from '../control/client';
import type { Status } from '../control/protocol';
import { nowMs } from '../engine/clock';
import { describeErrno } from '../errors';
import { type Picture, pageRows, render } from './render';
import { Screen } from './screen';
import { initialView, noProgress, pressed, progressed, type View } from './view';

/** Memory is a walk over each worker's mappings: looked at no more often than this. */
const MEMORY_MS = 5_000;
const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

/** What is known of a service, asked over one connection that is made anew when it breaks. */
export class Watch {
  readonly #path: string;
  #client: ControlClient | null = null;
  #askedAtMs = 0;
  #memoryAtMs = Number.NEGATIVE_INFINITY;
  picture: Picture = { status: null, progress: noProgress, problem: null };

  constructor(path: string) {
    this.#path = path;
  }

  /** Never rejects: a manager that does not answer is a picture, too. */
  async look(): Promise<void> {
    const memory = nowMs() - this.#memoryAtMs >= MEMORY_MS;
    try {
      this.#client ??= await ControlClient.connect(this.#path);
      const status = await this.#client.ask({ do: 'status', memory });
      this.#take(memory ? status : withMemoryOf(this.picture.status, status), memory);
    } catch (error) {
      this.close();
      this.picture = { ...this.picture, problem: `no answer at ${this.#path}: ${describeErrno(error)}` };
    }
  }

  #take(status: Status, memory: boolean): void {
    const now = nowMs();
    const { status: before, progress } = this.picture;
    const isSame = before !== null && before.pid === status.pid && before.upMs <= status.upMs;
    this.picture = {
      status,
      progress: isSame ? progressed(before, status, now - this.#askedAtMs, progress) : noProgress,
      problem: null,
    };
    this.#askedAtMs = now;
    if (memory) this.#memoryAtMs = now;
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }
}

function withMemoryOf(before: Status | null, status: Status): Status {
  const known = new Map(before?.workers.map(({ workerId, memory }) => [workerId, memory]));
  const workers = status.workers.map((worker) => ({ ...worker, memory: known.get(worker.workerId) ?? null }));
  return { ...status, workers };
}

/** Prints the table once, for a pipe or a terminal that can do no more. Throws what connecting throws. */
export async function printOnce(path: string, delayMs: number): Promise<void> {
  const watch = new Watch(path);
  try {
    await watch.look();
    await pause(delayMs);
    // Requests a second are known from the second look on.
    await watch.look();
    const lines = render(
      watch.picture,
      { columns: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY },
      initialView,
    );
    process.stdout.write(`${lines.map(({ text }) => text).join('\n')}\n`);
  } finally {
    watch.close();
  }
}

/** Whether this process has a terminal that can show a picture which changes. */
export function hasScreen(): boolean {
  const dumb = process.env.TERM === undefined || process.env.TERM === 'dumb' || process.env.TERM === '';
  return process.stdin instanceof ReadStream && process.stdout instanceof WriteStream && !dumb;
}

/** Shows the table until a key, a signal or the end of the terminal. Resolves to the signal, or to null. */
export async function showTop(path: string, delayMs: number): Promise<NodeJS.Signals | null> {
  const top = new Top(path, delayMs);
  for (const signal of SIGNALS) process.on(signal, top.end);
  try {
    return await top.run();
  } finally {
    for (const signal of SIGNALS) process.off(signal, top.end);
  }
}

class Top {
  readonly #watch: Watch;
  readonly #delayMs: number;
  readonly #screen: Screen;
  readonly #abort = new AbortController();
  #view: View = initialView;
  #signal: NodeJS.Signals | null = null;

  constructor(path: string, delayMs: number) {
    this.#watch = new Watch(path);
    this.#delayMs = delayMs;
    this.#screen = new Screen(process.stdin as ReadStream, process.stdout as WriteStream, {
      onKey: (key) => this.#press(key),
      onResize: () => this.#draw(),
      onGone: () => this.#abort.abort(),
    });
  }

  readonly end = (signal: NodeJS.Signals): void => {
    this.#signal = signal;
    this.#abort.abort();
  };

  async run(): Promise<NodeJS.Signals | null> {
    const { signal } = this.#abort;
    this.#screen.enter();
    try {
      this.#draw();
      while (!signal.aborted) {
        if (!this.#view.paused) {
          await orAborted(this.#watch.look(), signal);
          this.#draw();
        }
        await pause(this.#delayMs, undefined, { signal }).catch(() => {});
      }
    } finally {
      this.#screen.leave();
      this.#watch.close();
    }
    return this.#signal;
  }

  #press(key: string): void {
    if (key === 'ctrl-z') return this.#screen.suspend();
    const view = pressed(this.#view, key, pageRows(this.#screen.size.rows));
    if (view === 'quit') return this.#abort.abort();
    this.#view = this.#bounded(view);
    this.#draw();
  }

  /** What scrolls beyond the end would have to be scrolled back unseen. */
  #bounded(view: View): View {
    const count = this.#watch.picture.status?.workers.length ?? 0;
    return { ...view, scroll: Math.min(view.scroll, Math.max(0, count - pageRows(this.#screen.size.rows))) };
  }

  #draw(): void {
    this.#screen.draw(render(this.#watch.picture, this.#screen.size, this.#view));
  }
}

/** Settles as `work` does, or resolves when the signal comes before; leaves nothing on the signal. */
function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
