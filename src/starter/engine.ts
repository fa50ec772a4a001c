/**
 * What the engines' children lack of Server::Starter's. Those begin with SIGPIPE ignored. And they are forked first
 * and fail afterwards: a program that cannot be executed is a worker like any other, with a pid, a generation and a
 * wait status, that died at once. Our engines find out before there is a worker; then a shell is started in its
 * place, which says why and ends in the same way.
 */
import { statSync } from 'node:fs';
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
} from '../engine/engine';
import { errnoNumber } from '../engine/errno';
import { isExecutable } from './executable';
import { strerror } from './system-errors';

/** Errors that pass by themselves: there is no child because there cannot be one now. */
const TRANSIENT = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);
/** Exit code of a child that could not execute its program. */
const EXEC_FAILED = 255;

export class StarterEngine implements Engine {
  readonly #engine: Engine;
  /** spawns that the engine will tell of later */
  readonly #pending = new Map<number, SpawnSpec>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get name(): 'native' | 'js' {
    return this.#engine.name;
  }

  get capabilities(): Capabilities {
    return this.#engine.capabilities;
  }

  spawn(spec: SpawnSpec): SpawnResult {
    const result = this.#engine.spawn(this.name === 'js' ? withSigpipeIgnored(spec) : spec);
    if ('pending' in result) this.#pending.set(spec.workerId, spec);
    return 'code' in result ? (this.#instead(spec, result.code) ?? result) : result;
  }

  async wait(deadlineMs: number): Promise<readonly EngineEvent[]> {
    const events = await this.#engine.wait(deadlineMs);
    return events.map((event) => this.#translate(event));
  }

  #translate(event: EngineEvent): EngineEvent {
    const { workerId } = event;
    const spec = this.#pending.get(workerId);
    if (spec === undefined || (event.type !== 'spawned' && event.type !== 'spawnFailed')) return event;
    this.#pending.delete(workerId);
    if (event.type === 'spawned') return event;
    const result = this.#instead(spec, event.code);
    return result !== null && 'handle' in result
      ? { type: 'spawned', workerId, handle: result.handle }
      : event;
  }

  /** null: nothing takes its place. */
  #instead(spec: SpawnSpec, code: string): SpawnResult | null {
    if (TRANSIENT.has(code)) return null;
    // A script without #! is the shell's, as execvp(3) has it.
    if (code === 'ENOEXEC') return this.#engine.spawn(inShell(spec, [spec.file, ...spec.args.slice(1)]));
    const dirError = spec.cwd === undefined ? null : directoryError(spec.cwd);
    const what = dirError === null ? `failed to exec ${spec.file}` : `failed to chdir:${spec.cwd}`;
    const status = dirError === null ? EXEC_FAILED : -errnoNumber(dirError);
    const text = `${what}:${strerror(dirError ?? code)}`;
    const { cwd: _, ...here } = spec;
    return this.#engine.spawn(inShell(here, ['-c', `printf '%s\\n' "$1" >&2; exit ${status}`, 'sh', text]));
  }

  signal(worker: WorkerHandle, signal: Signal): 'sent' | 'gone' {
    return this.#engine.signal(worker, signal);
  }

  send(worker: WorkerHandle, message: unknown, descriptor?: Pick<EngineListener, 'fd'>): boolean {
    return this.#engine.send(worker, message, descriptor);
  }

  listen(spec: ListenSpec): ListenResult | Promise<ListenResult> {
    return this.#engine.listen(spec);
  }

  closeListener(listener: EngineListener): void {
    this.#engine.closeListener(listener);
  }

  quiesceListener(listener: EngineListener): void {
    this.#engine.quiesceListener(listener);
  }

  wake(): void {
    this.#engine.wake();
  }

  close(): void {
    this.#engine.close();
  }
}

/** libuv's children have every signal's default; a shell that becomes the program can ignore one. */
function withSigpipeIgnored(spec: SpawnSpec): SpawnSpec {
  // What cannot be executed is to fail here, not in the shell.
  if (!isExecutable(spec.file, spec.env.PATH, spec.cwd)) return spec;
  return inShell(spec, ['-c', 'trap "" PIPE; exec "$@"', 'sh', spec.file, ...spec.args.slice(1)]);
}

function inShell(spec: SpawnSpec, args: readonly string[]): SpawnSpec {
  return { ...spec, file: '/bin/sh', args: ['sh', ...args] };
}

/** Why one cannot change to that directory; null: one can, as far as is seen. */
function directoryError(path: string): string | null {
  try {
    return statSync(path).isDirectory() ? null : 'ENOTDIR';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'ENOENT';
  }
}
