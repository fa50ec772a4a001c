/** A program as a user runs it, which tells what it does in lines of JSON on standard output; and a check that it left nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import { ended } from './commands';
import { markedProcesses, tryKill } from './marked';
import { type EngineName, root } from './service';

/** Bound of every wait: far above what anything takes, so that a hang is told from a slow machine. */
const LONG_MS = 45_000;

export interface Said {
  readonly event: string;
  readonly pid: number;
  readonly atMs: number;
  readonly [field: string]: unknown;
}

interface Waiter {
  readonly count: number;
  readonly fits: (said: Said) => boolean;
  readonly resolve: (said: Said[]) => void;
  readonly reject: (error: Error) => void;
}

export class Program {
  readonly process: ChildProcess;
  readonly said: Said[] = [];
  errors = '';
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #marker: string;
  readonly #waiters = new Set<Waiter>();

  private constructor(child: ChildProcess, marker: string) {
    this.process = child;
    this.#marker = marker;
    this.exited = once(child, 'close').then(([code, signal]) => ({ code, signal }));
    void this.exited.then(({ code, signal }) => this.#fail(`it ended (${signal ?? code})`));
    createInterface({ input: child.stdout! }).on('line', (line) => this.#onLine(line));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
  }

  /** With the js engine the addon is not even there. */
  static start(args: readonly string[], engine: EngineName, env: NodeJS.ProcessEnv = {}): Program {
    const marker = randomUUID();
    const node = process.env.PREFORK_TEST_NODE ?? process.execPath;
    const child = spawn(node, args, {
      cwd: root,
      env: {
        ...process.env,
        ...(engine === 'js' && { PREFORK_ENGINE: 'js' }),
        ...env,
        PREFORK_TEST_MARKER: marker,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    return new Program(child, `PREFORK_TEST_MARKER=${marker}`);
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** Waits until that has been said as often, and resolves to the first ones. */
  async all(
    event: string,
    count: number,
    fits: (said: Said) => boolean = () => true,
  ): Promise<readonly Said[]> {
    const matches = (said: Said): boolean => said.event === event && fits(said);
    const now = this.said.filter(matches);
    if (now.length >= count) return now.slice(0, count);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { count, fits: matches, resolve, reject };
      this.#waiters.add(waiter);
      const timer = setTimeout(() => this.#fail(`no ${count} × ${event} in ${LONG_MS} ms`, waiter), LONG_MS);
      timer.unref();
    });
  }

  async event(event: string, fits?: (said: Said) => boolean): Promise<Said> {
    const [first] = await this.all(event, 1, fits);
    return first!;
  }

  count(event: string): number {
    return this.said.filter((said) => said.event === event).length;
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    this.signal(signal);
    const { code, signal: by } = await this.exited;
    return by ?? code;
  }

  /** Processes that were started by it and live (zombies do not). A forked one has the environment of the first. */
  processes(): number[] {
    return markedProcesses(this.#marker);
  }

  /** Ends what is left, for afterEach(). */
  async dispose(): Promise<void> {
    const finished = this.process.exitCode !== null || this.process.signalCode !== null;
    const left = finished ? this.processes() : [];
    this.process.kill('SIGKILL');
    for (const pid of this.processes()) tryKill(pid, 'SIGKILL');
    for (const pid of left) await ended(pid);
    await this.exited;
    expect(left, 'processes left behind').toEqual([]);
  }

  #onLine(line: string): void {
    if (!line.startsWith('{')) return;
    this.said.push(JSON.parse(line) as Said);
    for (const waiter of [...this.#waiters]) {
      const fitting = this.said.filter(waiter.fits);
      if (fitting.length < waiter.count) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(fitting.slice(0, waiter.count));
    }
  }

  #fail(reason: string, only?: Waiter): void {
    for (const waiter of only ? [only] : [...this.#waiters]) {
      if (!this.#waiters.delete(waiter)) continue;
      const said = this.said.map((line) => JSON.stringify(line)).join('\n');
      waiter.reject(new Error(`${reason}; it said:\n${said}\nstandard error:\n${this.errors}`));
    }
  }
}
