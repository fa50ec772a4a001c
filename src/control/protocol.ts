/**
 * What the control socket speaks: JSON objects, a line each, over a Unix stream. A client sends requests and may send
 * the next before the answer to the last; each is answered once, a `reload` by progress lines before that.
 *
 *     → {"v":1,"id":1,"do":"scale","workers":8}
 *     ← {"v":1,"id":1,"ok":true,"result":{"workers":8}}
 *     → {"v":1,"id":2,"do":"reload"}
 *     ← {"v":1,"id":2,"progress":"generation 2 begins (surge)"}
 *     ← {"v":1,"id":2,"ok":false,"error":{"code":"ROLLOUT","message":"worker 4711 exited with code 1 …"}}
 *
 * What is no such request is answered by an error with the code `PROTOCOL`, and the connection is closed.
 */
import { MAX_WORKERS } from '../core/policy';
import type { WorkerPhase } from '../core/state';
import type { RowState } from '../scoreboard/row';

export const PROTOCOL_VERSION = 1;

/** Longest line of a client, newline included. */
export const MAX_REQUEST_BYTES = 4096;
/** Longest line of a manager: the status of a thousand workers and as many addresses fits. */
export const MAX_RESPONSE_BYTES = 4 * 1_048_576;
/** As many as a manager may have; more is no request but a mistake. */
export const MAX_SCALE = MAX_WORKERS;

/** What a client can ask for. */
export type Question =
  /** memory: of each worker as the kernel counts it (PSS, private), which costs a look at /proc for each */
  | { readonly do: 'status'; readonly memory?: boolean }
  /** answered when the rollout has ended; one that has to wait for a rollout under way is answered for its own */
  | { readonly do: 'reload' }
  /** answered at once; the connection ends with the manager */
  | { readonly do: 'stop'; readonly graceful: boolean }
  | { readonly do: 'scale'; readonly workers: number }
  | { readonly do: 'reopenLogs' }
  /** a worker whose manager was killed: the answer `{"join":true}` comes with a descriptor, its channel (src/manager/lobby.ts) */
  | { readonly do: 'rejoin'; readonly slot: number; readonly workerId: number; readonly generation: number };

export type Request = Question & {
  /** of the client's choosing, repeated in the answer */
  readonly id: number;
};

export interface Results {
  status: Status;
  reload: { readonly generation: number };
  stop: { readonly workers: number };
  /** as many as are wanted now */
  scale: { readonly workers: number };
  reopenLogs: Record<string, never>;
  rejoin: { readonly join: boolean };
}

export type ControlErrorCode =
  /** no request of this protocol and version */
  | 'PROTOCOL'
  /** too many requests, or clients, in too short a time */
  | 'BUSY'
  /** the service stops */
  | 'STOPPING'
  /** the new generation failed; the old one goes on serving */
  | 'ROLLOUT';

export interface ControlError {
  readonly code: ControlErrorCode;
  readonly message: string;
}

/** `id` is null where no request could be read. */
export type Response =
  | { readonly v: 1; readonly id: number | null; readonly ok: true; readonly result: unknown }
  | { readonly v: 1; readonly id: number | null; readonly ok: false; readonly error: ControlError }
  | { readonly v: 1; readonly id: number; readonly progress: string };

export interface WorkerStatus {
  readonly slot: number;
  readonly workerId: number;
  /** null: it is being started */
  readonly pid: number | null;
  readonly generation: number;
  readonly state: WorkerPhase;
  /** since it was started */
  readonly ageMs: number;
  /** since it became ready; null: not yet */
  readonly readyMs: number | null;
  /** told to leave, and why; null: not */
  readonly leaving: string | null;
  /** by SIGSTOP */
  readonly stopped: boolean;
  /** what it tells of itself; null: nothing (no Node program, `--no-scoreboard`, not yet) */
  readonly row: RowStatus | null;
  /** as the kernel counts it; null: not asked for, or not to be had */
  readonly memory: MemoryStatus | null;
  /** of the worker that was in this slot last; null: none yet, or before the manager was replaced */
  readonly lastExit: ExitStatus | null;
}

/** From the scoreboard (src/scoreboard/row.ts has what each means). */
export interface RowStatus {
  readonly activity: RowState;
  readonly requests: number;
  readonly connections: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** 0 to 1 */
  readonly utilisation: number;
  readonly lagMs: number;
  /** since its last sign of life; null: none yet */
  readonly heartbeatMs: number | null;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

export interface MemoryStatus {
  readonly rssBytes: number;
  /** proportional: what is shared is divided by those who share it */
  readonly pssBytes: number;
  /** nobody else's */
  readonly privateBytes: number;
}

export interface ExitStatus {
  readonly workerId: number;
  readonly pid: number | null;
  /** raw wait status; −1: unknown */
  readonly status: number;
  /** `exited with code 1` */
  readonly how: string;
  /** it had been told to leave */
  readonly expected: boolean;
  /** since then */
  readonly agoMs: number;
}

export interface Status {
  readonly pid: number;
  /** of prefork */
  readonly version: string;
  readonly engine: 'native' | 'js';
  /** starting: the first generation is not yet ready in full */
  readonly state: 'starting' | 'running' | 'reloading' | 'stopping';
  /** the one that serves */
  readonly generation: number;
  /** the one that is to take its place; null: none */
  readonly nextGeneration: number | null;
  readonly workersWanted: number;
  readonly workersReady: number;
  /** of the manager's process */
  readonly upMs: number;
  readonly addresses: readonly string[];
  /** by slot, the older first */
  readonly workers: readonly WorkerStatus[];
}

/** The request of a line, or what is wrong with it. */
export function parseRequest(line: string): Request | { readonly problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { problem: 'it is no JSON' };
  }
  if (!isObject(value)) return { problem: 'it is no object' };
  if (value.v !== PROTOCOL_VERSION) return { problem: `this manager speaks version ${PROTOCOL_VERSION}` };
  const { id } = value;
  if (!isCount(id)) return { problem: 'id is no number from 0' };
  const question = parseQuestion(value);
  return question === null ? { problem: 'it asks for nothing that is known here' } : { ...question, id };
}

function parseQuestion(value: Record<string, unknown>): Question | null {
  switch (value.do) {
    case 'status': {
      const { memory } = value;
      if (memory === undefined) return { do: 'status' };
      return typeof memory === 'boolean' ? { do: 'status', memory } : null;
    }
    case 'reload':
    case 'reopenLogs':
      return { do: value.do };
    case 'stop':
      return typeof value.graceful === 'boolean' ? { do: 'stop', graceful: value.graceful } : null;
    case 'scale': {
      const { workers } = value;
      return isCount(workers) && workers >= 1 && workers <= MAX_SCALE ? { do: 'scale', workers } : null;
    }
    case 'rejoin': {
      const { slot, workerId, generation } = value;
      const isWhole = isCount(slot) && isCount(workerId) && isCount(generation);
      return isWhole ? { do: 'rejoin', slot, workerId, generation } : null;
    }
    default:
      return null;
  }
}

/** The response of a line; null: none of this version. */
export function parseResponse(line: string): Response | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (!isObject(value) || value.v !== PROTOCOL_VERSION) return null;
  const { id } = value;
  if (id !== null && !isCount(id)) return null;
  if (typeof value.progress === 'string' && id !== null) return { v: 1, id, progress: value.progress };
  if (value.ok === true) return { v: 1, id, ok: true, result: value.result };
  if (value.ok !== false || !isObject(value.error)) return null;
  const { code, message } = value.error;
  return { v: 1, id, ok: false, error: { code: String(code) as ControlErrorCode, message: String(message) } };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
