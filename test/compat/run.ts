/** One start_server process under observation, with a directory and an event channel of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { LIMIT_MS, Lines } from './lines';
import type { Implementation } from './side-by-side';

const WORKER = resolve(__dirname, 'worker.sh');

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** the program and its arguments; default: the reporting worker */
  readonly program?: readonly string[];
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Run {
  /** standard error of the manager (and of its workers), normalised */
  readonly log: Lines;
  /** what the workers report, normalised */
  readonly events: Lines;
  readonly stdout: Lines;
  readonly #names = new Map<string, string>();
  readonly #pids = new Set<number>();
  readonly #fifo: Socket;
  /** what the workers' children read from: closed, it ends them */
  readonly #idle: number;
  #manager: ChildProcess | undefined;
  #exit: Promise<Ended> | undefined;

  private constructor(
    readonly implementation: Implementation,
    readonly dir: string,
    /** free TCP and UDP ports of this run */
    readonly ports: readonly number[],
  ) {
    this.log = new Lines('log', (line) => this.normalise(line));
    this.events = new Lines('event', (line) => this.#normaliseEvent(line));
    this.stdout = new Lines('stdout', (line) => this.normalise(line));
    const path = join(dir, 'events');
    execFileSync('mkfifo', [path, join(dir, 'idle')]);
    this.#idle = openSync(join(dir, 'idle'), constants.O_RDWR | constants.O_NONBLOCK);
    // Read and write: the channel never sees an end while workers come and go.
    this.#fifo = new Socket({ fd: openSync(path, constants.O_RDWR | constants.O_NONBLOCK) });
    this.events.read(this.#fifo);
    ports.forEach((port, index) => {
      this.#names.set(String(port), `PORT${index + 1}`);
    });
  }

  static async open(implementation: Implementation): Promise<Run> {
    const ports = [await freePort(), await freePort()];
    return new Run(implementation, mkdtempSync(join(tmpdir(), 'prefork-compat-')), ports);
  }

  get pid(): number {
    const pid = this.#manager?.pid;
    if (pid === undefined) throw new Error('not started');
    return pid;
  }

  /** Ends the run with TERM, once the newest worker listens to signals. How it ended, and the whole log. */
  async finish(): Promise<string[]> {
    await this.whenUp(this.#newest());
    this.signal('SIGTERM');
    return this.ending();
  }

  /** The newest generation that the log or the worker itself has told of: the two come by different ways. */
  #newest(): number {
    const started = this.log.all.filter((line) => line.startsWith('starting new worker')).length;
    const up = this.events.all.map((line) => Number(/^up gen=(\d+) /.exec(line)?.[1] ?? 0));
    return Math.max(1, started, ...up);
  }

  /** How the manager ended, and the whole log; workers that end at the same time are reaped in any order. */
  async ending(): Promise<string[]> {
    return [await this.exitLine(), ...inAnyOrder(/^worker W\d+ died, /, this.log.all)];
  }

  /** Resolves when the worker of that generation can be talked to. */
  whenUp(generation: number): Promise<void> {
    return this.events.until(`worker of generation ${generation}`, (all) =>
      all.some((line) => line.startsWith(`up gen=${generation} `)),
    );
  }

  /** Resolves when the workers have been sent that many signals in all. */
  whenSignals(count: number): Promise<void> {
    return this.events.until(
      `${count} signals`,
      (all) => all.filter((line) => line.startsWith('signal')).length >= count,
    );
  }

  /** Resolves when a file of that name is there. */
  fileAppears(name: string): Promise<void> {
    return this.#fileIs(name, () => existsSync(this.path(name)));
  }

  async #fileIs(name: string, holds: () => boolean): Promise<void> {
    const watcher = watch(this.dir);
    const there = new Promise<void>((done) => {
      const look = () => {
        if (holds()) done();
      };
      watcher.on('change', look);
      // A pid becomes a name when the log or the worker tells of it, which may be after the file does.
      this.log.onLine(look);
      this.events.onLine(look);
      look();
    });
    try {
      await within(there, LIMIT_MS, () => `${name}, which is now ${this.file(name)}`);
    } finally {
      watcher.close();
    }
  }

  /** Resolves when the file reads so, as {@link file} has it. */
  fileBecomes(name: string, wanted: string | RegExp): Promise<void> {
    return this.#fileIs(name, () => {
      const text = this.file(name);
      return typeof wanted === 'string' ? text === wanted : wanted.test(text);
    });
  }

  /** Writes a file of the run's directory, at once for whoever reads it. */
  write(name: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    const temporary = this.path(`.new-${basename(name)}`);
    writeFileSync(temporary, text, { mode });
    renameSync(temporary, this.path(name));
  }

  remove(name: string): void {
    rmSync(this.path(name), { recursive: true });
  }

  /** What the workers were sent, sorted: two workers report in any order. */
  get signals(): string[] {
    return this.events.all.filter((line) => line.startsWith('signal')).sort();
  }

  get isOriginal(): boolean {
    return this.implementation.name === 'original';
  }

  /** A path in this run's directory. */
  path(name: string): string {
    return join(this.dir, name);
  }

  /** Starts the manager; `options` are its arguments before `--`. */
  start(args: readonly string[], options: StartOptions = {}): void {
    this.startRaw([...args, '--', ...(options.program ?? ['sh', WORKER])], options);
  }

  /** Starts it with exactly these arguments. */
  startRaw(args: readonly string[], options: StartOptions = {}): void {
    const child = this.#spawn(args, options);
    this.#manager = child;
    if (child.pid !== undefined) this.nameManager(child.pid);
    this.log.read(child.stderr);
    this.stdout.read(child.stdout);
    this.#exit = ended(child);
  }

  /** Tells which pid is the manager, where it is not the process that was started. */
  nameManager(pid: number): void {
    this.#pids.add(pid);
    this.#names.set(String(pid), 'MANAGER');
  }

  /** Runs the same command a second time, to its end: `--restart`, `--stop`, … */
  async command(
    args: readonly string[],
    options: StartOptions = {},
  ): Promise<{ ended: Ended; lines: string[]; output: string[] }> {
    const child = this.#spawn(args, options);
    if (child.pid !== undefined) this.#names.set(String(child.pid), 'COMMAND');
    const log = new Lines('command', (line) => this.normalise(line));
    log.read(child.stderr);
    const output = new Lines('output', (line) => line);
    output.read(child.stdout);
    const result = await within(
      ended(child),
      LIMIT_MS,
      () => `the end of ${args.join(' ')}: ${log.all.join('\n')}`,
    );
    return { ended: result, lines: log.all, output: output.all };
  }

  #spawn(args: readonly string[], options: StartOptions): ChildProcess & { stdout: Socket; stderr: Socket } {
    const [file, ...before] = this.implementation.command;
    const { PATH } = process.env;
    const env = {
      PATH,
      COMPAT_EVENTS: this.path('events'),
      COMPAT_IDLE: this.path('idle'),
      COMPAT_WORKER: WORKER,
      ...this.implementation.env,
      ...options.env,
    };
    const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
    const child = spawn(file as string, [...before, ...args], { cwd: this.dir, env, stdio });
    return child as unknown as ChildProcess & { stdout: Socket; stderr: Socket };
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Sends a signal to the worker that the normalised name means ('W1', …). */
  signalWorker(name: string, signal: NodeJS.Signals): void {
    for (const [pid, known] of this.#names) if (known === name) process.kill(Number(pid), signal);
  }

  /** Resolves with how the manager ended, once its output has been read to the end. */
  async exit(): Promise<Ended> {
    if (this.#exit === undefined) throw new Error('not started');
    return within(this.#exit, LIMIT_MS, () => `the manager to end; log so far:\n${this.log.all.join('\n')}`);
  }

  /** `exit code=N`, or `exit signal=NAME`. */
  async exitLine(): Promise<string> {
    const { code, signal } = await this.exit();
    return signal === null ? `exit code=${code}` : `exit signal=${signal}`;
  }

  /** `name: contents` normalised, or `name: (absent)`. */
  file(name: string): string {
    const path = this.path(name);
    try {
      return `${name}: ${this.normalise(readFileSync(path, 'utf8').trimEnd().replaceAll('\n', ' '))}`;
    } catch {
      // It may go at any moment.
      return `${name}: (absent)`;
    }
  }

  /** pids → W1, W2 … in order of appearance, the manager → MANAGER; ports and this directory to their names. */
  normalise(line: string): string {
    const started = /^starting new worker (\d+)$/.exec(line)?.[1];
    if (started !== undefined) this.#nameWorker(started);
    return (
      line
        .replaceAll(this.dir, 'DIR')
        .replace(/(?<![\d.])\d{2,}(?![\d.])/g, (number) => this.#names.get(number) ?? number)
        // Perl's trailer to a message
        .replace(/ at \/\S+ line \d+\.$/, '')
    );
  }

  /** As {@link normalise}, for a line that a log command has put `logged: ` before. */
  normaliseLogged(line: string): string {
    const [, before = '', text = ''] = /^(logged: )?(.*)$/s.exec(line) ?? [];
    return before + this.normalise(text);
  }

  #normaliseEvent(line: string): string {
    const pid = /\| pid=(\d+) /.exec(line)?.[1];
    if (pid !== undefined) this.#nameWorker(pid);
    return this.normalise(anyFreeFd(line));
  }

  #nameWorker(pid: string): void {
    if (this.#names.has(pid)) return;
    const workers = [...this.#names.values()].filter((name) => name.startsWith('W')).length;
    this.#names.set(pid, `W${workers + 1}`);
    this.#pids.add(Number(pid));
  }

  /** Ends whatever still runs and removes the directory. */
  async close(): Promise<void> {
    const running = this.#manager?.exitCode === null && this.#manager.signalCode === null;
    if (running) this.#manager?.kill('SIGKILL');
    for (const pid of this.#pids)
      if (pid !== this.#manager?.pid && isOurs(pid, this.dir)) process.kill(pid, 'SIGKILL');
    if (running) await this.#exit;
    this.#fifo.destroy();
    closeSync(this.#idle);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Neighbouring lines that match, sorted. */
function inAnyOrder(pattern: RegExp, lines: readonly string[]): string[] {
  const result: string[] = [];
  let group: string[] = [];
  for (const line of [...lines, '']) {
    if (pattern.test(line)) {
      group.push(line);
    } else {
      result.push(...group.sort(), line);
      group = [];
    }
  }
  return result.slice(0, -1);
}

/** Descriptors that nobody asked for by number (3 to 7 here) → F1, F2 … in order; the scripts ask for 0 or 8 and above. */
function anyFreeFd(line: string): string {
  const names = new Map<string, string>();
  const rename = (fd: string) => {
    if (!/^[3-7]$/.test(fd)) return fd;
    const name = names.get(fd) ?? `F${names.size + 1}`;
    names.set(fd, name);
    return name;
  };
  return line
    .replace(/(?<= \| ports=)[^|]*(?= \|)/, (ports) => ports.replace(/(?<==)\d+(?=;|$)/g, rename))
    .replace(/(?<= \| sockets=)[^|]*(?= \|)/, (fds) => fds.replace(/\d+/g, rename));
}

/** Whether that pid is a process of this run: pids are reused, the directory in its environment is not. */
function isOurs(pid: number, dir: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(dir);
  } catch {
    return false;
  }
}

function ended(child: ChildProcess): Promise<Ended> {
  return new Promise((done, failed) => {
    child.once('error', failed);
    // A daemon keeps the pipes; only what the process itself does counts.
    child.once('exit', (code, signal) => {
      const result = { code, signal };
      const timer = setTimeout(done, 500, result);
      child.once('close', () => {
        clearTimeout(timer);
        done(result);
      });
    });
  });
}

/** Rejects when `promise` takes longer than `limitMs`: a bound, not a measure. */
export async function within<T>(promise: Promise<T>, limitMs: number, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, failed) => {
    timer = setTimeout(() => failed(new Error(`waited ${limitMs} ms for ${what()}`)), limitMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Below the range of ephemeral ports, so that no client connection takes one. Each process of the test runner has its own
 * part, and each of its files begins somewhere in it.
 */
const PORTS = { first: 18_000, parts: 4, each: 3_200 };
const part = PORTS.first + (Number(process.env.VITEST_POOL_ID ?? 0) % PORTS.parts) * PORTS.each;
let nextPort = Math.floor(Math.random() * PORTS.each);

/** A port that is free on every IPv4 and IPv6 address. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    nextPort = (nextPort + 1) % PORTS.each;
    const port = part + nextPort;
    const server = createServer();
    const free = await new Promise<boolean>((done) => {
      server.once('error', () => done(false));
      server.listen(port, () => done(true));
    });
    if (!free) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
  throw new Error('no free port');
}
