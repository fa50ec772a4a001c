/**
 * A manager for tests of what runs inside a worker: it spawns one with the hook, answers its questions, and keeps what it says.
 * Both kinds of channel.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { EventEmitter } from 'node:events';
import * as net from 'node:net';
import { isAbsolute, join } from 'node:path';
import type { Binding } from '../../src/engine/binding';
import type { BootListener, ManagerMessage, WorkerBoot, WorkerMessage } from '../../src/worker/protocol';

/** Another build than the usual one may be tested. */
/** Another build than the usual one may be tested. */
export const DIST = process.env.PREFORK_TEST_DIST ?? join(__dirname, '../../dist');
const HOOK = join(DIST, 'worker/hook.js');
const FIXTURES = join(__dirname, '../fixtures');
const MAX_MESSAGE_BYTES = 65_536;
const WAIT_MS = 20_000;

export type EngineName = 'native' | 'js';

interface Handle {
  readonly fd: number;
  close(): void;
  getsockname?(out: { port?: number }): number;
}

export interface TestListener {
  readonly key: string;
  readonly kind: 'tcp' | 'udp' | 'unix';
  readonly address: string;
  readonly port: number;
  readonly boundPort: number;
  readonly fd: number;
  readonly fromBind: boolean;
  readonly site: string;
  readonly handle: Handle | undefined;
}

export interface ListenOptions {
  kind?: 'tcp' | 'udp' | 'unix';
  address?: string;
  port?: number;
  backlog?: number;
  fromBind?: boolean;
  site?: string;
  ipv6Only?: boolean;
}

export interface SpawnOptions {
  /** a file of test/fixtures, or an absolute path */
  entry?: string;
  /** CommonJS source instead of a file */
  code?: string;
  args?: readonly string[];
  listeners?: readonly TestListener[];
  boot?: Partial<WorkerBoot>;
  env?: Record<string, string>;
  nodeArgs?: readonly string[];
  execPath?: string;
  cwd?: string;
}

type Errno = { errno: number; code: string };
type CreateHandle = (
  address: string | null,
  port: number,
  type: number,
  fd: undefined,
  flags: number,
) => Handle | number;

export class TestManager {
  readonly engine: EngineName;
  readonly workers: TestWorker[] = [];
  readonly listeners: TestListener[] = [];
  /** answers of the next questions instead of a socket */
  readonly refusals: Errno[] = [];
  /** withholds answers until it is called with them */
  hold: ((answer: () => void) => void) | undefined;
  readonly #binding: Binding;

  constructor(engine: EngineName) {
    this.engine = engine;
    const { loadBinding } = require(
      join(DIST, 'engine/binding.js'),
    ) as typeof import('../../src/engine/binding');
    const { binding, reason } = loadBinding();
    if (engine === 'native' && binding === null) throw new Error(`no addon: ${reason}`);
    this.#binding = binding as Binding;
  }

  listen(options: ListenOptions = {}): TestListener {
    const listener = this.tryListen(options);
    if ('errno' in listener) throw new Error(listener.code);
    return listener;
  }

  tryListen(options: ListenOptions): TestListener | Errno {
    const {
      kind = 'tcp',
      address = '127.0.0.1',
      port = 0,
      backlog = 511,
      fromBind = true,
      site = '',
    } = options;
    const ipv6Only = options.ipv6Only ?? false;
    const made =
      this.engine === 'native'
        ? this.#listenNative({ kind, address, port, backlog, ipv6Only })
        : bind(kind, address, port);
    if ('errno' in made) return made;
    const key = `${kind}:${address}:${port}:${site || made.boundPort}`;
    const listener: TestListener = { key, kind, address, port, fromBind, site, ...made };
    this.listeners.push(listener);
    return listener;
  }

  #listenNative(spec: {
    kind: 'tcp' | 'udp' | 'unix';
    address: string;
    port: number;
    backlog: number;
    ipv6Only: boolean;
  }) {
    const fd = this.#binding.listen({ ...spec, reusePort: false });
    if (fd < 0) return errnoOf(fd);
    const name = this.#binding.sockname(fd);
    return { fd, boundPort: typeof name === 'number' ? 0 : name.port, handle: undefined };
  }

  spawn(options: SpawnOptions): TestWorker {
    const listeners = (options.listeners ?? []).map(
      ({ handle, site, ...rest }, i): BootListener => ({ ...rest, fd: 3 + i }),
    );
    const boot: WorkerBoot = {
      v: 1,
      engine: this.engine,
      ready: 'listen',
      listeners,
      backlog: null,
      maxRequests: 0,
      lingerMs: null,
      ...options.boot,
    };
    const ends = this.engine === 'native' ? (this.#binding.channelPair() as [number, number]) : undefined;
    const inherited = (options.listeners ?? []).map(({ fd }) => fd);
    const channel = ends === undefined ? 'ipc' : `fd:${3 + inherited.length}`;
    const { entry = '', code } = options;
    const program =
      code === undefined ? [isAbsolute(entry) ? entry : join(FIXTURES, entry)] : ['-e', code, '--'];
    const args = [...(options.nodeArgs ?? []), '--require', HOOK, ...program, ...(options.args ?? [])];
    const child = spawn(options.execPath ?? process.env.PREFORK_TEST_NODE ?? process.execPath, args, {
      env: { ...cleanEnv(), ...environment(boot, channel), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', ...inherited, ends === undefined ? 'ipc' : ends[1]],
      ...(options.cwd && { cwd: options.cwd }),
    });
    if (ends !== undefined) this.#binding.close(ends[1]);
    const worker = new TestWorker(this, child, ends?.[0], this.#binding);
    this.workers.push(worker);
    return worker;
  }

  /** As the real manager: one socket for an address, and one for a call site of listen(0). */
  answer(worker: TestWorker, question: Extract<WorkerMessage, { type: 'listen' }>): void {
    const { seq, kind, address, port, site } = question;
    const give = () => {
      const refusal = this.refusals.shift();
      const known = this.listeners.find(
        (l) => l.kind === kind && l.address === address && l.port === port && l.site === site,
      );
      const found = refusal ?? known ?? this.tryListen({ ...question, fromBind: false });
      if ('errno' in found)
        worker.send({ type: 'listener', seq, key: '', errno: found.errno, code: found.code });
      else worker.send({ type: 'listener', seq, key: found.key, boundPort: found.boundPort, address }, found);
    };
    if (this.hold === undefined) give();
    else this.hold(give);
  }

  /** Ends the workers and closes the sockets. */
  async close(): Promise<void> {
    for (const worker of this.workers) worker.child.kill('SIGKILL');
    await Promise.all(this.workers.map((worker) => worker.exited));
    for (const worker of this.workers) worker.closeChannel();
    for (const { handle, fd } of this.listeners) {
      if (handle === undefined) this.#binding.close(fd);
      else handle.close();
    }
  }
}

export class TestWorker {
  readonly child: ChildProcess;
  readonly messages: WorkerMessage[] = [];
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stdout = '';
  stderr = '';
  readonly #manager: TestManager;
  readonly #fd: number | undefined;
  readonly #binding: Binding;
  readonly #watchers = new Set<() => void>();
  #closed = false;
  #stopWatching: (() => void) | undefined;

  constructor(manager: TestManager, child: ChildProcess, fd: number | undefined, binding: Binding) {
    this.child = child;
    this.#manager = manager;
    this.#fd = fd;
    this.#binding = binding;
    child.stdout?.setEncoding('utf8').on('data', (text) => this.#heard(() => (this.stdout += text)));
    child.stderr?.setEncoding('utf8').on('data', (text) => this.#heard(() => (this.stderr += text)));
    this.exited = this.#untilGone(child);
    if (fd === undefined) child.on('message', (message) => this.#received(message as WorkerMessage));
    else this.#watchNative(fd);
  }

  /** When it has ended and everything that it said has been heard. */
  async #untilGone(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const event = (emitter: EventEmitter | null | undefined, name: string) =>
      new Promise((resolve) => emitter?.once(name, resolve));
    const streams = [event(child.stdout, 'close'), event(child.stderr, 'close')];
    // 'close' of the child is not emitted where this side has disconnected.
    const channel = this.#fd === undefined ? event(child, 'disconnect') : undefined;
    await Promise.all([event(child, 'exit'), ...streams, channel]);
    if (this.#fd !== undefined && !this.#closed) this.#receive(this.#fd);
    return { code: child.exitCode, signal: child.signalCode };
  }

  get pid(): number {
    return this.child.pid as number;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  send(message: ManagerMessage, listener?: TestListener): void {
    if (this.#fd === undefined) this.child.send(message, listener?.handle as unknown as net.Server);
    else
      this.#binding.sendMessage(
        this.#fd,
        Buffer.from(JSON.stringify(message)),
        listener ? [listener.fd] : [],
      );
  }

  /** The first message of this type that fits, also one that has come already. */
  async message<T extends WorkerMessage['type']>(
    type: T,
    fits: (message: Extract<WorkerMessage, { type: T }>) => boolean = () => true,
  ): Promise<Extract<WorkerMessage, { type: T }>> {
    type Wanted = Extract<WorkerMessage, { type: T }>;
    return this.#until(`message ${type}`, () =>
      this.messages.find((m): m is Wanted => m.type === type && fits(m as Wanted)),
    );
  }

  all<T extends WorkerMessage['type']>(type: T): Extract<WorkerMessage, { type: T }>[] {
    return this.messages.filter((m): m is Extract<WorkerMessage, { type: T }> => m.type === type);
  }

  /** The first line on stdout that matches. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#until(`line ${pattern}`, () => pattern.exec(this.stdout) ?? undefined);
  }

  /** What a fixture printed as `name {json}`. */
  async report<T = unknown>(name: string): Promise<T> {
    const [, json] = await this.line(new RegExp(`^${name} (.*)$`, 'm'));
    return JSON.parse(json as string) as T;
  }

  /** As if the manager were gone. */
  closeChannel(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWatching?.();
    if (this.#fd !== undefined) this.#binding.close(this.#fd);
    else if (this.child.connected) this.child.disconnect();
  }

  #watchNative(fd: number): void {
    const poller = this.#binding.createPoller(() => this.#receive(fd));
    if (typeof poller === 'number') throw new Error(`createPoller: ${poller}`);
    poller.add(fd, 0);
    this.#stopWatching = () => poller.close();
  }

  #receive(fd: number): void {
    for (;;) {
      const received = this.#binding.recvMessage(fd, MAX_MESSAGE_BYTES, 0);
      if (typeof received !== 'number') this.#received(JSON.parse(received.data.toString()));
      else {
        if (received === 0) this.closeChannel();
        return;
      }
    }
  }

  #received(message: WorkerMessage): void {
    this.#heard(() => this.messages.push(message));
    if (message.type === 'listen') this.#manager.answer(this, message);
  }

  #heard(note: () => unknown): void {
    note();
    for (const watcher of [...this.#watchers]) watcher();
  }

  #until<T>(what: string, find: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        settle();
      };
      const look = () => {
        const found = find();
        if (found !== undefined) done(() => resolve(found));
      };
      const timer = setTimeout(() => done(() => reject(new Error(`no ${what}\n${this.#state()}`))), WAIT_MS);
      this.#watchers.add(look);
      void this.exited.then(() => {
        look();
        done(() => reject(new Error(`ended without ${what}\n${this.#state()}`)));
      });
      look();
    });
  }

  #state(): string {
    return `stdout: ${this.stdout}\nstderr: ${this.stderr}\nmessages: ${JSON.stringify(this.messages)}`;
  }
}

/** As the js engine binds: libuv cannot hold a listening socket without accepting. */
function bind(kind: 'tcp' | 'udp' | 'unix', address: string, port: number) {
  if (kind === 'udp') return { errno: -95, code: 'EOPNOTSUPP' };
  const create = (net as unknown as { _createServerHandle: CreateHandle })._createServerHandle;
  const made = create(
    address,
    kind === 'unix' ? -1 : port,
    kind === 'unix' ? -1 : net.isIPv6(address) ? 6 : 4,
    undefined,
    0,
  );
  if (typeof made === 'number') return errnoOf(made);
  // libuv tells EADDRINUSE at listen() only.
  const out: { port?: number } = {};
  if (kind === 'tcp') {
    const errno = made.getsockname?.(out) ?? 0;
    if (errno < 0) {
      made.close();
      return errnoOf(errno);
    }
  }
  return { fd: made.fd, boundPort: out.port ?? 0, handle: made };
}

function errnoOf(errno: number): Errno {
  const { getSystemErrorName } = require('node:util') as typeof import('node:util');
  return { errno, code: getSystemErrorName(errno) };
}

function environment(boot: WorkerBoot, channel: string): Record<string, string> {
  return {
    PREFORK_SLOT: '1',
    PREFORK_WORKER_ID: '7',
    PREFORK_GENERATION: '2',
    SERVER_STARTER_PORT: boot.listeners
      .map(({ address, boundPort, fd }) => `${address}:${boundPort}=${fd}`)
      .join(';'),
    SERVER_STARTER_GENERATION: '2',
    LISTEN_FDS: String(boot.listeners.length),
    LISTEN_FDNAMES: boot.listeners.map(({ key }) => key.replaceAll(':', '-')).join(':'),
    PREFORK_WORKER: JSON.stringify(boot),
    PREFORK_CHANNEL: channel,
  };
}

/** Without what the test runner adds. */
function cleanEnv(): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env;
  return { PATH, HOME };
}
