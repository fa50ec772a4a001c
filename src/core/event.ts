import type { Signal } from '../engine/engine';
import type { Policy } from './policy';

/** What happened, as the shell tells the core. */
export type Event =
  | { type: 'tick' }
  /** terminalGone: HUP came because the controlling terminal went away */
  | { type: 'signal'; signal: Signal; terminalGone?: boolean }
  | { type: 'spawned'; workerId: number; pid: number }
  /** transient: worth another try by itself (EAGAIN, ENOMEM, EMFILE, ENFILE). reason: in words, where a code would not do */
  | { type: 'spawnFailed'; workerId: number; code: string; step: string; transient: boolean; reason?: string }
  | { type: 'listening'; workerId: number; key: string }
  | { type: 'unlistening'; workerId: number; key: string }
  | { type: 'ready'; workerId: number }
  | { type: 'draining'; workerId: number }
  | { type: 'retire'; workerId: number; reason: string }
  /** its event loop does not turn: it serves nothing */
  | { type: 'hung'; workerId: number }
  /** of the ready workers, those that had nothing to do and those that had; about once a second */
  | { type: 'load'; idle: number; busy: number }
  | { type: 'stopped' | 'continued'; workerId: number }
  | { type: 'exited'; workerId: number; status: number; lastWords: string | null }
  /** a listener that a worker (or --bind) asked for could not be opened */
  | { type: 'listenFailed'; workerId: number | null; address: string; code: string }
  | { type: 'configLoaded'; generation: number; policy: Policy }
  | { type: 'configFailed'; generation: number; reason: string }
  | { type: 'control'; request: ControlRequest };

export type ControlRequest =
  | { do: 'stop'; graceful: boolean }
  | { do: 'reload' }
  | { do: 'scale'; workers: number }
  | { do: 'reopenLogs' }
  | { do: 'upgrade' }
  | { do: 'retire'; workerId: number; reason: string };
