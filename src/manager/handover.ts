/**
 * What a manager leaves to its successor in the same process: plain data in a sealed memfd, and the descriptors that it
 * names. `schema`, `former` and `fds` mean the same in every version, so that one that knows no more can give it back.
 */
import { fstatSync, readSync, writeSync } from 'node:fs';
import { defaultPolicy, type Policy } from '../core/policy';
import { initialState, type WorkerState } from '../core/state';
import type { Binding } from '../engine/binding';
import type { SocketHandover } from '../control/socket';
import type { EngineHandover } from '../engine/native';
import type { RowHandover } from '../scoreboard/board';
import type { RunOptions } from '../options/load';
import { defaults } from '../options/sources';
import type { ExitsHandover } from './last-exits';
import type { ListenersHandover } from './listeners';
import type { ManagerHandover } from './manager';
import type { MetricsHandover } from '../metrics/metrics';

/** Raised with every change that an older or newer manager would misread. */
export const HANDOVER_SCHEMA = 1;

/** How a manager was started, and can be again. */
export interface Program {
  readonly version: string;
  readonly execPath: string;
  readonly argv0: string;
  readonly execArgv: readonly string[];
  /** as it was named, symbolic links kept: the next version is looked up there */
  readonly script: string;
  /** the file that this was at its start */
  readonly scriptFile: string;
  readonly args: readonly string[];
}

/** What this version loads in workers and in the processes that they are forked from. */
export interface WorkerFiles {
  readonly hook: string;
  readonly forkserver: string;
}

export interface Handover {
  readonly schema: number;
  readonly former: Program;
  /** every descriptor that is kept open, each named below too */
  readonly fds: readonly number[];
  /** when it was written, on the clock of nowMs() */
  readonly atMs: number;
  readonly options: RunOptions;
  readonly manager: ManagerHandover;
  readonly engine: EngineHandover;
  readonly listeners: ListenersHandover;
  /** listener's key → what is spoken there */
  readonly protocols: readonly (readonly [string, string])[];
  /** of a version that had no scoreboard: none; and so its last exits */
  readonly board: readonly RowHandover[];
  readonly exits: ExitsHandover;
  readonly pidFile: { readonly path: string; readonly fd: number } | null;
  readonly control: SocketHandover | null;
  /** null: none are served; and so of a version that had none */
  readonly metrics: MetricsHandover | null;
  /** the former manager's hook in the workers, to be replaced by the successor's */
  readonly hook: string;
  /** the addon's file, open: what is preloaded to hold signals back */
  readonly guardFd: number;
}

/** The descriptors named in the parts of a handover. */
export function descriptorsOf({
  engine,
  listeners,
  board,
  pidFile,
  control,
  metrics,
  guardFd,
}: Pick<
  Handover,
  'engine' | 'listeners' | 'board' | 'pidFile' | 'control' | 'metrics' | 'guardFd'
>): number[] {
  const fds = [guardFd, pidFile?.fd ?? -1, control?.fd ?? -1, metrics?.fd ?? -1];
  for (const { pidfd, channel } of [...engine.children, ...engine.forkservers]) fds.push(pidfd, channel);
  for (const { sockets } of listeners.listeners) for (const [, { fd }] of sockets) fds.push(fd);
  for (const { fd } of board) fds.push(fd);
  return [...new Set(fds)].filter((fd) => fd >= 0);
}

/** A sealed memfd with the handover, or −errno. */
export function writeHandover(binding: Binding, handover: Handover): number {
  const bytes = Buffer.from(JSON.stringify(handover));
  const fd = binding.memfd('prefork-handover', bytes.length);
  if (fd < 0) return fd;
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at);
  const sealed = binding.addSeals(fd, ['shrink', 'grow', 'write', 'seal']);
  if (sealed >= 0) return fd;
  binding.close(fd);
  return sealed;
}

/**
 * Reads it, whatever its schema; {@link checkSchema} says whether the rest is to be relied on. The descriptor stays
 * open and its offset unmoved. Throws an Error where it holds no handover.
 */
export function readHandover(fd: number): Handover {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  for (let at = 0; at < bytes.length; ) {
    const got = readSync(fd, bytes, at, bytes.length - at, at);
    if (got === 0) throw new Error('the state is cut short');
    at += got;
  }
  const handover = JSON.parse(bytes.toString()) as Handover;
  if (!Number.isInteger(handover?.schema)) throw new Error('this is no state of a manager');
  return handover;
}

/** Throws an Error that tells the schema where it is not this version's. */
export function checkSchema({ schema }: Handover): void {
  if (schema !== HANDOVER_SCHEMA) {
    throw new Error(`the state has schema ${schema}, and this version knows ${HANDOVER_SCHEMA} only`);
  }
}

/**
 * A handover of this schema as this version would have written it: what the former one did not know yet has its usual
 * value, and the workers to come get this version's files.
 */
export function adapted(handover: Handover, files: WorkerFiles): Handover {
  const { manager, options } = handover;
  const policy = withDefaults(manager.state.policy);
  const workers = manager.state.workers.map((w) => ({ ...FORMER_WORKER, ...w }));
  const state = { ...initialState(policy, handover.atMs, 1), ...manager.state, policy, workers };
  const plans = manager.plans.map(([generation, { bind, launch, policy }]) => {
    const args = launch.args.map((arg) => (arg === handover.hook ? files.hook : arg));
    const preload = launch.preload && {
      ...launch.preload,
      preload: { instead: files.hook, file: files.forkserver },
    };
    return [
      generation,
      {
        bind,
        policy: withDefaults(policy),
        launch: { ...launch, args, preload, scoreboard: launch.scoreboard ?? null },
      },
    ] as const;
  });
  const board = handover.board ?? [];
  return {
    ...handover,
    board,
    exits: handover.exits ?? [],
    metrics: handover.metrics ?? null,
    options: { ...defaults(), ...options },
    manager: { ...manager, state, plans },
  };
}

/** What a worker of a version that knew no age is taken for: one that has none. */
const FORMER_WORKER = { retiringAtMs: null, ageUpAtMs: null } satisfies Partial<WorkerState>;

const withDefaults = (policy: Policy): Policy => ({ ...defaultPolicy, ...policy });
