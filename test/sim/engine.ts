/** The engine of the virtual world: fulfils the contract of `src/engine/engine.ts` without any real process. */
import { constants } from 'node:os';
import { performance } from 'node:perf_hooks';
import type {
  Capabilities,
  Engine,
  EngineEvent,
  EngineListener,
  ListenResult,
  ListenSpec,
  Signal,
  SpawnResult,
  SpawnSpec,
  WorkerHandle,
} from '../../src/engine/engine';
import { Agenda } from './agenda';
import { Kernel, type KernelEvent, type Process, type Program } from './kernel';

export type SpawnError = { errno: number; code: string; step: string; reason?: string };

export interface SimEngineOptions {
  agenda?: Agenda;
  /** how many pids there are; default 32,766 */
  pids?: number;
  /** what the process of a spec does, or why it cannot be started; default: `programOf` */
  resolve?: (spec: SpawnSpec) => Program | SpawnError;
  /** null: spawn() answers at once; else an event tells so much later */
  pendingMs?: (spec: SpawnSpec) => number | null;
  /** from an end to its notice; default 0 */
  reapDelayMs?: (process: Process) => number;
  /** on the way from a worker; default 0 */
  messageDelayMs?: (process: Process) => number;
}

/** The file name that `programOf` takes for an executable. */
export const SIM_FILE = 'sim';

/** Reads the program from the last argument, as JSON. */
export function programOf(spec: SpawnSpec): Program | SpawnError {
  if (spec.file !== SIM_FILE) return failure('ENOENT', 'execve');
  return JSON.parse(spec.args.at(-1) ?? '{"acts":[]}') as Program;
}

export function failure(code: keyof typeof constants.errno, step: string): SpawnError {
  return { errno: -constants.errno[code], code, step };
}

interface SimHandle extends WorkerHandle {
  readonly process: Process;
}

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, n]) => [n, name as Signal]));

export class SimEngine implements Engine {
  readonly name = 'native';
  readonly capabilities: Capabilities = {
    rusage: false,
    parentDeathSignal: true,
    listenPid: true,
    flock: true,
    childCredentials: true,
    childLimits: true,
    managerUpgrade: true,
    sdNotify: true,
    peerCredentials: true,
    stopEvents: true,
    reusePort: true,
    udp: true,
    fork: true,
    scoreboard: true,
  };
  readonly agenda: Agenda;
  readonly kernel: Kernel;
  readonly #options: SimEngineOptions;
  readonly #withChannel = new WeakSet<Process>();
  readonly #listeners = new Map<string, EngineListener>();
  #inbox: EngineEvent[] = [];
  #ended: Process[] = [];
  #woken = false;
  #nextFd = 3;
  #nextPort = 32_768;
  #unpark: (() => void) | null = null;

  constructor(options: SimEngineOptions = {}) {
    this.#options = options;
    this.agenda = options.agenda ?? new Agenda(performance.now());
    this.kernel = new Kernel(this.agenda, options.pids ?? 32_766, (event) => this.#onKernel(event));
  }

  spawn(spec: SpawnSpec): SpawnResult {
    this.#resume();
    const pendingMs = this.#options.pendingMs?.(spec) ?? null;
    if (pendingMs === null) return this.#start(spec);
    this.agenda.after(pendingMs, () => {
      const { workerId } = spec;
      const result = this.#start(spec);
      if ('handle' in result) this.#inbox.push({ type: 'spawned', workerId, handle: result.handle });
      else this.#inbox.push({ type: 'spawnFailed', workerId, ...result });
    });
    return { pending: true };
  }

  #start(spec: SpawnSpec): { handle: WorkerHandle } | SpawnError {
    const program = (this.#options.resolve ?? programOf)(spec);
    if ('errno' in program) return program;
    const process = this.kernel.fork(spec.workerId, program);
    if (process === null) return failure('EAGAIN', 'clone');
    if (spec.channel) this.#withChannel.add(process);
    const handle: SimHandle = { workerId: spec.workerId, pid: process.pid, process };
    return { handle };
  }

  signal(worker: WorkerHandle, signal: Signal): 'sent' | 'gone' {
    const sent = this.kernel.kill(processOf(worker), signal);
    this.#resume();
    return sent ? 'sent' : 'gone';
  }

  send(worker: WorkerHandle, message: unknown): boolean {
    const process = processOf(worker);
    if (process.life !== 'running' || !this.#withChannel.has(process)) return false;
    if (process.program.echo === true) this.kernel.act(process, [{ afterMs: 0, say: message }]);
    this.#resume();
    return true;
  }

  listen(spec: ListenSpec): ListenResult {
    const port = spec.kind !== 'unix' && spec.port === 0 ? this.#nextPort++ : spec.port;
    const key = `${spec.kind} ${spec.address} ${port}`;
    if (this.#listeners.has(key) && !spec.reusePort) {
      return { errno: -constants.errno.EADDRINUSE, code: 'EADDRINUSE' };
    }
    const listener = { address: spec.address, port, fd: this.#nextFd++ };
    this.#listeners.set(key, listener);
    return { listener };
  }

  quiesceListener(): void {}

  closeListener(listener: EngineListener): void {
    for (const [key, open] of this.#listeners) if (open === listener) this.#listeners.delete(key);
  }

  /** What has come in, without waiting: zombies are reaped here, as they are reported. */
  collect(): EngineEvent[] {
    const events = this.#inbox;
    this.#inbox = [];
    for (const process of this.#ended) {
      const status = this.kernel.reap(process);
      const byWhat = status & 0x7f;
      events.push({
        type: 'exited',
        workerId: process.workerId,
        pid: process.pid,
        status,
        exitCode: byWhat === 0 ? status >> 8 : null,
        signal: SIGNAL_NAMES.get(byWhat) ?? null,
        rusage: null,
      });
    }
    this.#ended = [];
    return events;
  }

  get hasEvents(): boolean {
    return this.#inbox.length > 0 || this.#ended.length > 0;
  }

  /** The virtual clock jumps to the next event, or to the deadline. */
  async wait(deadlineMs: number): Promise<readonly EngineEvent[]> {
    for (;;) {
      // What the caller does in this turn comes first.
      await new Promise(setImmediate);
      if (this.#woken || this.hasEvents) break;
      const nextAtMs = this.agenda.nextAtMs;
      if (nextAtMs === Number.POSITIVE_INFINITY && deadlineMs === Number.POSITIVE_INFINITY) {
        await new Promise<void>((resolve) => {
          this.#unpark = resolve;
        });
      } else {
        this.agenda.advance(Math.min(nextAtMs, deadlineMs));
        if (this.agenda.now >= deadlineMs && !this.hasEvents) return [];
      }
    }
    this.#woken = false;
    return this.collect();
  }

  wake(): void {
    this.#woken = true;
    this.#resume();
  }

  close(): void {
    for (const process of this.kernel.table.values()) this.kernel.kill(process, 'SIGKILL');
    this.wake();
  }

  #resume(): void {
    this.#unpark?.();
    this.#unpark = null;
  }

  #onKernel(event: KernelEvent): void {
    const { process } = event;
    const { workerId } = process;
    if (event.what === 'said') {
      if (!this.#withChannel.has(process)) return;
      const { message } = event;
      this.#later(this.#options.messageDelayMs?.(process) ?? 0, () =>
        this.#inbox.push({ type: 'message', workerId, message }),
      );
    } else if (event.what === 'ended') {
      if (this.#withChannel.has(process)) this.#inbox.push({ type: 'channelClosed', workerId });
      this.#later(this.#options.reapDelayMs?.(process) ?? 0, () => this.#ended.push(process));
    } else {
      this.#inbox.push({ type: event.what, workerId });
    }
  }

  #later(ms: number, run: () => void): void {
    if (ms > 0) this.agenda.after(ms, run);
    else run();
  }
}

function processOf(worker: WorkerHandle): Process {
  return (worker as SimHandle).process;
}
