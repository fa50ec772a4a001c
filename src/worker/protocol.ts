/**
 * What manager and worker say to each other over the channel: one JSON object a packet (native) or an IPC
 * message (js). At most `MAX_MESSAGE_BYTES` as JSON.
 */

/** 64 KiB: a packet that does not fit is refused by the sender. */
export const MAX_MESSAGE_BYTES = 65_536;

/** What the manager tells the worker at its start, as JSON in PREFORK_WORKER; the hook removes the variable. */
export interface WorkerBoot {
  /** protocol version; a worker refuses another */
  v: 1;
  engine: 'native' | 'js';
  ready: 'listen' | 'start' | 'message';
  /** listeners inherited at start */
  listeners: readonly BootListener[];
  /** the operator's backlog, which overrides the program's; null: the program's own */
  backlog: number | null;
  /** 0: without bound. Jitter is already in it */
  maxRequests: number;
  /** absent: without bound */
  maxMemory?: MemoryLimit;
  /** the worker outlives its manager, and looks for a new one there; absent: it leaves when the manager is gone */
  keep?: { control: string; reusePort: boolean };
  /** idle keep-alive connections linger this long at most while draining; null: the server's keepAliveTimeout */
  lingerMs: number | null;
  /** how many workers the manager runs */
  workers?: number;
  /** what the worker tells of itself, and how; absent: nothing */
  scoreboard?: BootScoreboard;
  /** by which the manager tells a worker to leave; SIGTERM and SIGQUIT where absent */
  stopSignals?: readonly NodeJS.Signals[];
  /** how each line that it prints is marked; absent: not at all */
  tagOutput?: 'pretty' | 'json';
}

/** Between a worker whose manager was killed and a new one, over the channel that it got for coming (src/manager/lobby.ts). */
export type RejoinMessage =
  /** the descriptor comes with it. reusePort: it is one of several on that address */
  | ({ type: 'handOver'; reusePort: boolean } & Omit<BootListener, 'fd'>)
  /** that was all; keys of those on which it accepts */
  | { type: 'rejoined'; listening: readonly string[] };

export interface MemoryLimit {
  bytes: number;
  /** only what the worker shares with nobody counts: it is forked from a process that holds the rest */
  privateOnly: boolean;
}

export interface BootScoreboard {
  /** of the page that is the worker's row (src/scoreboard/layout.ts); null: the row goes by messages */
  fd: number | null;
  /** the longest time from one heartbeat to the next */
  intervalMs: number;
  /** SIGUSR1 may be sent to find out where it is stuck: the inspector is to choose a free port */
  inspect: boolean;
}

export interface BootListener {
  key: string;
  kind: 'tcp' | 'udp' | 'unix';
  /** as asked for: numeric address or path ('::' and '0.0.0.0' for every address) */
  address: string;
  /** as asked for: 0 when any port */
  port: number;
  /** as bound */
  boundPort: number;
  fd: number;
  /** named by --bind: a listen() on this port gets it whatever host the program names */
  fromBind: boolean;
}

/** Worker to manager. */
export type WorkerMessage =
  /** the channel works and the hook stands; sent once, first */
  | { type: 'hello'; pid: number }
  /** answered by `listener`. `site` tells apart several listen(0): the program's call site */
  | {
      type: 'listen';
      seq: number;
      kind: 'tcp' | 'udp' | 'unix';
      address: string;
      port: number;
      backlog: number;
      ipv6Only: boolean;
      site: string;
      mode?: number;
    }
  /** a server is accepting on that listener */
  | { type: 'listening'; key: string; protocol: 'http' | 'https' | 'http2' | 'tcp' | 'udp' }
  | { type: 'unlistening'; key: string }
  /** ready() or process.send('ready') */
  | { type: 'ready' }
  /** please replace me; `reason` is 'max-requests' or the program's own */
  | { type: 'retire'; reason: string }
  /** the worker has begun to drain by itself or on a signal */
  | { type: 'draining' }
  /** what was printed last, or the error that ends it */
  | { type: 'lastWords'; text: string }
  /** its row of the scoreboard (src/scoreboard/writer.ts), where it has no page: at most one a second, and at a change of phase */
  | { type: 'row'; values: readonly number[] }
  /** its prom-client registry as JSON, in parts; without `text`: it has one */
  | { type: 'registry'; seq: number; text?: string; last?: boolean }
  /** any other process.send() of the program */
  | { type: 'user'; data: unknown };

/** Manager to worker. */
export type ManagerMessage =
  /** the answer to `listen`; the descriptor or handle comes with it. errno is negative, code its name */
  | { type: 'listener'; seq: number; key: string; boundPort: number; address: string }
  | { type: 'listener'; seq: number; key: string; errno: number; code: string }
  /** accept from another slot's socket too (its descriptor comes with it), until `release` */
  | { type: 'adopt'; key: string; slot: number }
  | { type: 'release'; key: string; slot: number }
  /** `outputs`: which of 1 and 2 are the log file. Its new one comes as a descriptor, or is to be opened by the name `file` */
  | { type: 'reopenLogs'; outputs: readonly number[]; file: string | null }
  /** no worker stays: when you drain, accept first what waits in the queue. Before the stop signal */
  | { type: 'poolStops' }
  /** tell your registry, with that number */
  | { type: 'registry'; seq: number }
  | { type: 'user'; data: unknown };
