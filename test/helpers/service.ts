/** `prefork run` as a user starts it: a real process, its log as events, and a check that it left nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import { markedProcesses, tryKill } from './marked';

export const root = join(__dirname, '..', '..');
export const cli = join(root, 'dist', 'cli', 'prefork.js');
export const fixture = (name: string): string => join(root, 'test', 'fixtures', name);
export const engines = ['native', 'js'] as const;
export type EngineName = (typeof engines)[number];

/** Bound of every wait: far above what anything takes, so that a hang is told from a slow machine. */
const LONG_MS = 45_000;

export interface LogLine {
  event?: string;
  level: string;
  msg: string;
  pid?: number;
  slot?: number;
  generation?: number;
  status?: number;
  pids?: number[];
  addresses?: string[];
  [field: string]: unknown;
}

export interface StartOptions {
  engine?: EngineName;
  env?: Record<string, string>;
  cwd?: string;
  node?: string;
  /** the command's script, where it is not that of this tree */
  cli?: string;
  /** goes before the command: ['setpriv', …] */
  wrap?: readonly string[];
  /** descriptors that it finds at 3, 4, … */
  inherit?: readonly number[];
}

type Waiter = {
  fits: (line: LogLine) => boolean;
  resolve: (line: LogLine) => void;
  reject: (error: Error) => void;
};

export class Service {
  readonly process: ChildProcess;
  readonly lines: LogLine[] = [];
  /** everything on standard error and output, as text */
  errors = '';
  output = '';
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #marker: string;
  readonly #waiters = new Set<Waiter>();
  #cursor = 0;

  private constructor(child: ChildProcess, marker: string) {
    this.process = child;
    this.#marker = marker;
    this.exited = once(child, 'close').then(([code, signal]) => ({ code, signal }));
    void this.exited.then(({ code, signal }) => this.#fail(`it ended (${signal ?? code})`));
    createInterface({ input: child.stderr! }).on('line', (text) => this.#onLine(text));
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
  }

  /** `args` are options and the entry; the log is JSON unless they say otherwise. */
  static start(args: readonly string[], options: StartOptions = {}): Service {
    const engine =
      options.engine === undefined ? [] : [options.engine === 'native' ? '--native' : '--no-native'];
    // Another Node.js for the manager and its workers: PREFORK_TEST_NODE=/path/to/node.
    const node = options.node ?? process.env.PREFORK_TEST_NODE ?? process.execPath;
    const script = options.cli ?? cli;
    return Service.command(
      [...(options.wrap ?? []), node, script, 'run', '--log-format', 'json', ...engine, ...args],
      options,
    );
  }

  /** Any command line that becomes a manager in the foreground, with JSON on its standard error. */
  static command(
    line: readonly string[],
    options: Pick<StartOptions, 'cwd' | 'env' | 'inherit'> = {},
  ): Service {
    const marker = `PREFORK_TEST_MARKER=${randomUUID()}`;
    const [name, value] = marker.split('=') as [string, string];
    const child = spawn(line[0]!, line.slice(1), {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env, [name]: value },
      stdio: ['ignore', 'pipe', 'pipe', ...(options.inherit ?? [])],
    });
    return new Service(child, marker);
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** The next line of that event (from where the last wait ended) that fits. */
  async event(event: string, fits: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    const matches = (line: LogLine): boolean => line.event === event && fits(line);
    const index = this.lines.findIndex((line, at) => at >= this.#cursor && matches(line));
    if (index >= 0) {
      this.#cursor = index + 1;
      return this.lines[index]!;
    }
    const line = await new Promise<LogLine>((resolve, reject) => {
      const waiter: Waiter = { fits: matches, resolve, reject };
      this.#waiters.add(waiter);
      const timer = setTimeout(() => this.#fail(`no ${event} within ${LONG_MS} ms`, waiter), LONG_MS);
      timer.unref();
    });
    this.#cursor = this.lines.indexOf(line) + 1;
    return line;
  }

  /** Waits until the first generation serves. */
  async serving(): Promise<{ port: number; addresses: string[]; pids: number[] }> {
    const line = await this.event('serving');
    const addresses = line.addresses ?? [];
    const port = Number(/:(\d+)/.exec(addresses[0]?.replace(/^\w+:\/\//, '') ?? '')?.[1] ?? 0);
    return { port, addresses, pids: line.pids ?? [] };
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Signals, and waits for the end. */
  async stop(
    signal: NodeJS.Signals = 'SIGTERM',
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.signal(signal);
    return this.exited;
  }

  /** Processes that were started by this service and live (zombies do not), itself included. */
  processes(): number[] {
    return markedProcesses(this.#marker);
  }

  /** Ends what is left, for afterEach(); a service that was stopped must have left nothing. */
  async dispose(): Promise<void> {
    const stopped = this.process.exitCode !== null || this.process.signalCode !== null;
    const left = stopped ? this.processes() : [];
    this.process.kill('SIGKILL');
    for (const pid of this.processes()) tryKill(pid, 'SIGKILL');
    await this.exited;
    expect(left, 'processes left behind').toEqual([]);
  }

  #onLine(text: string): void {
    this.errors += `${text}\n`;
    let line: LogLine;
    try {
      line = JSON.parse(text) as LogLine;
    } catch {
      return;
    }
    this.lines.push(line);
    for (const waiter of [...this.#waiters]) {
      if (!waiter.fits(line)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(line);
    }
  }

  #fail(reason: string, only?: Waiter): void {
    for (const waiter of only ? [only] : [...this.#waiters]) {
      if (!this.#waiters.delete(waiter)) continue;
      waiter.reject(new Error(`${reason}; standard error was:\n${this.errors}`));
    }
  }
}
