/** The seam between the manager and the operating system: what the simulator fakes and what both engines fulfil. */
import type { Rusage } from './wait-result';

/** A signal name without alternatives: 'SIGTERM', 'SIGKILL', … */
export type Signal = NodeJS.Signals;

/** What an engine can do beyond the common contract; the js engine lacks most of it, each documented. */
export interface Capabilities {
  rusage: boolean;
  /** children die with the manager, whatever they are doing */
  parentDeathSignal: boolean;
  listenPid: boolean;
  flock: boolean;
  /** user, group and supplementary groups of a child; umask and rlimits of a child */
  childCredentials: boolean;
  childLimits: boolean;
  managerUpgrade: boolean;
  sdNotify: boolean;
  peerCredentials: boolean;
  /** SIGSTOP and SIGCONT of a child are noticed */
  stopEvents: boolean;
  reusePort: boolean;
  udp: boolean;
  fork: boolean;
  /** workers tell of themselves: in shared memory (native), by messages at most once a second (js) */
  scoreboard: boolean;
}

/** A listening (native) or bound (js) socket that the manager owns. */
export interface EngineListener {
  /** the address it got, port 0 resolved */
  readonly address: string;
  readonly port: number;
  /** descriptor in the manager */
  readonly fd: number;
}

export interface ListenSpec {
  kind: 'tcp' | 'udp' | 'unix';
  /** numeric address or socket path */
  address: string;
  port: number;
  backlog: number;
  reusePort: boolean;
  ipv6Only: boolean;
  mode?: number;
  uid?: number;
  gid?: number;
}

export type ListenResult = { listener: EngineListener } | { errno: number; code: string };

export interface SpawnSpec {
  workerId: number;
  file: string;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd?: string;
  /** placed at 3, 4, … in this order */
  inherit: readonly number[];
  /** [source fd, number in the child] pairs beyond those */
  place?: readonly (readonly [number, number])[];
  /** a message channel; its descriptor number is put in PREFORK_CHANNEL ('fd:N', or 'ipc') */
  channel: boolean;
  /** descriptors of this process for 0, 1 and 2; -1 is /dev/null */
  stdio: readonly [number, number, number];
  setsid: boolean;
  umask?: number;
  uid?: number;
  gid?: number;
  groups?: readonly number[];
  /** worker dies with the manager (where the engine can) */
  dieWithManager: boolean;
  noNewPrivs?: boolean;
  /** the program begins with SIGPIPE ignored (native; js: never) */
  ignoreSigpipe?: boolean;
  /** fork the worker from the generation's forkserver (started with the first one) instead of starting it anew */
  forkserver?: ForkserverSpec;
}

export interface ForkserverSpec {
  readonly generation: number;
  readonly boot: {
    readonly until: 'listen' | 'idle';
    readonly safety: 'refuse' | 'warn';
    readonly warmup: string | null;
    readonly busyAfterMs: number;
  };
  /** the argument that names the worker's hook, and the file that the forkserver has in its place */
  readonly preload: { readonly instead: string; readonly file: string };
}

export interface WorkerHandle {
  readonly workerId: number;
  readonly pid: number;
}

/** `pending`: a `spawned` or `spawnFailed` event will tell (a forkserver, or the js engine's late errors). */
export type SpawnResult =
  | { handle: WorkerHandle }
  | { pending: true }
  | { errno: number; code: string; step: string };

/** How a worker ended. `status` is the raw wait status. */
export interface ExitReport {
  workerId: number;
  pid: number;
  status: number;
  exitCode: number | null;
  signal: Signal | null;
  rusage: Rusage | null;
}

export type EngineEvent =
  | { type: 'spawned'; workerId: number; handle: WorkerHandle }
  /** `reason`: in words, where a code would not do */
  | { type: 'spawnFailed'; workerId: number; errno: number; code: string; step: string; reason?: string }
  | ({ type: 'exited' } & ExitReport)
  | { type: 'message'; workerId: number; message: unknown }
  | { type: 'channelClosed'; workerId: number }
  | { type: 'stopped' | 'continued'; workerId: number };

/** What becomes of forkservers, for the log: the core knows only workers. */
export type PreloadEvent =
  /** it has loaded the program and is ready to fork */
  | { type: 'preloaded'; generation: number; pid: number; rssBytes: number; notes: readonly string[] }
  | { type: 'busy' | 'unsafe'; generation: number; pid: number; problems: readonly string[] }
  /** it ended by itself; the next worker of the generation starts a new one */
  | { type: 'ended'; generation: number; pid: number; status: number };

export interface Engine {
  readonly name: 'native' | 'js';
  readonly capabilities: Capabilities;
  /** Starts a process. A handle or an errno; never throws. */
  spawn(spec: SpawnSpec): SpawnResult;
  signal(worker: WorkerHandle, signal: Signal): 'sent' | 'gone';
  /**
   * A message to the worker, with a listener handed over where one is given; native: any descriptor. false: the worker is gone or
   * its queue is full.
   */
  send(worker: WorkerHandle, message: unknown, descriptor?: Pick<EngineListener, 'fd'>): boolean;
  /** Opens a socket. A promise where the engine can only try asynchronously. */
  listen(spec: ListenSpec): ListenResult | Promise<ListenResult>;
  /** Where the engine can: no new connection joins the listener's queue; what is in it can still be accepted. */
  quiesceListener(listener: EngineListener): void;
  closeListener(listener: EngineListener): void;
  /** Resolves with at least one event, or with none when `deadlineMs` (of `nowMs()`, Infinity for none) has passed or `wake()` was called. */
  wait(deadlineMs: number): Promise<readonly EngineEvent[]>;
  /** Ends the current wait. */
  wake(): void;
  /** Something is under way that a successor in this process could not go on with: a forkserver that starts or ends. */
  readonly busy?: boolean;
  /** Where workers are forked: ends the forkserver of a generation, or all, since no worker is to come from it. */
  endForkserver?(generation: number | 'all'): void;
  close(): void;
}
