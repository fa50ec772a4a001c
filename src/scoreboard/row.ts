/** What a worker tells of itself, as its readers see it: one row a worker. */

export type RowState = 'starting' | 'idle' | 'busy' | 'draining';

export interface ScoreboardRow {
  readonly workerId: number;
  readonly slot: number;
  readonly generation: number;
  /** the worker's own; 0 before it has come so far */
  readonly pid: number;
  readonly state: RowState;
  /** when its event loop last turned (or `tick()` was called), of the monotonic clock that all processes share; 0: never */
  readonly heartbeatMs: number;
  /** when the worker began, of the same clock; 0: not yet */
  readonly startedAtMs: number;
  /** answered by http, https and http2; elsewhere connections, or what `countRequest()` counted */
  readonly requests: number;
  /** open now */
  readonly connections: number;
  /** taken in and sent by the connections that have ended */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** share of the time since the last heartbeat in which the event loop worked, 0 to 1 */
  readonly utilisation: number;
  /** by how much the last heartbeat was late */
  readonly lagMs: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
}

/** The manager's side: what the rows say now. */
export interface Scoreboard {
  /** of a worker; null: it has none (no Node program, or it has not begun) or its row was torn */
  read(workerId: number): ScoreboardRow | null;
}
