import type { Signal } from '../engine/engine';
import type { LeaveReason } from './state';

/** What the shell is to do, in this order. */
export type Command =
  | { type: 'spawn'; workerId: number; slot: number; generation: number; maxRequests: number }
  | { type: 'signal'; workerId: number; signal: Signal }
  /** the set of workers, their phases or generations changed */
  | { type: 'publishStatus' }
  | { type: 'reloadConfig'; generation: number }
  | { type: 'rolloutEnded'; generation: number; ok: boolean; reason: string | null }
  /** the first generation is ready in full */
  | { type: 'started' }
  /** a stop begins: before the workers are told, no new connection is to join the queues that they are about to leave */
  | { type: 'quiesceListeners' }
  /** no worker of it is left and none will come */
  | { type: 'generationEnded'; generation: number }
  | { type: 'reopenLogs' }
  | { type: 'reexec' }
  | { type: 'log'; level: 'debug' | 'info' | 'warn' | 'error'; entry: LogEntry }
  | { type: 'exit'; code: number };

/** Log lines as data; `manager/messages.ts` puts them into words. */
export type LogEntry =
  | { what: 'worker-spawned'; workerId: number; slot: number; generation: number; pid: number }
  | {
      what: 'worker-ready';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      afterMs: number;
    }
  | {
      what: 'worker-retiring';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      reason: string;
    }
  | {
      what: 'worker-leaving';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      reason: LeaveReason;
      signal: Signal;
    }
  | {
      what: 'worker-killed';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      /** it was told to finish, and its time is up */
      late: boolean;
      reason: LeaveReason;
    }
  | {
      what: 'worker-exited';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      status: number;
      expected: boolean;
      wasReady: boolean;
      lastWords: string | null;
    }
  | { what: 'worker-stopped' | 'worker-continued'; workerId: number; slot: number; pid: number | null }
  | {
      what: 'spawn-failed';
      slot: number;
      generation: number;
      code: string;
      step: string;
      reason: string | null;
      retryInMs: number | null;
    }
  | {
      what: 'ready-timeout';
      workerId: number;
      slot: number;
      generation: number;
      pid: number | null;
      timeoutMs: number;
      missing: readonly string[];
      /** where it does listen */
      listening: readonly string[];
    }
  | { what: 'backoff'; slot: number; failures: number; delayMs: number }
  | { what: 'listen-failed'; address: string; code: string }
  | { what: 'start-failed'; reason: string }
  | { what: 'started'; generation: number; workers: number; afterMs: number }
  | { what: 'rollout-started'; generation: number; mode: 'surge' | 'rolling' }
  | { what: 'rollout-queued' }
  | { what: 'rollout-committed'; generation: number; afterMs: number }
  | { what: 'rollout-failed'; generation: number; reason: string; serving: number }
  | { what: 'scaled'; workers: number }
  | { what: 'pool-resized'; workers: number; idle: number; busy: number }
  | { what: 'pool-full'; workers: number; idle: number; busy: number }
  | { what: 'signal'; signal: Signal }
  | { what: 'stopping'; signal: Signal | null; immediate: boolean; workers: number }
  | { what: 'auto-restart'; intervalMs: number; forced: boolean };
