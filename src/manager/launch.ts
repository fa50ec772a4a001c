/** How the workers of one generation are started: read once when the generation begins, and kept for its respawns. */
import type { Capabilities, ForkserverSpec, SpawnSpec } from '../engine/engine';
import type { Credentials } from '../options/credentials';
import type { BootScoreboard, WorkerBoot } from '../worker/protocol';
import { starterName } from './addresses';
import type { Seat } from '../scoreboard/board';
import type { Listener, Listeners } from './listeners';

export interface Launch {
  readonly file: string;
  /** argv[0] included */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** a Node.js program under our hook; null: any other command, which knows its sockets by the environment only */
  readonly hook: Pick<
    WorkerBoot,
    'ready' | 'backlog' | 'lingerMs' | 'keep' | 'maxMemory' | 'tagOutput'
  > | null;
  /** what the workers tell of themselves; null: nothing */
  readonly scoreboard: ScoreboardPlan | null;
  /** fork the workers from a process that has loaded the program; null: start each anew */
  readonly preload: Omit<ForkserverSpec, 'generation'> | null;
  readonly credentials: Credentials | null;
  readonly umask: number | null;
  /** PR_SET_NO_NEW_PRIVS */
  readonly noNewPrivs: boolean;
  /** descriptors of the manager for 0, 1 and 2; −1 is /dev/null, and the log's is that of the moment */
  readonly stdio: readonly [Stdio, Stdio, Stdio];
  readonly setsid: boolean;
  readonly dieWithManager: boolean;
}

export interface ScoreboardPlan extends Omit<BootScoreboard, 'fd'> {
  /** without a sign of life for so long a worker hangs; 0: never */
  readonly timeoutMs: number;
}

export type Stdio = number | 'log';

export interface Place {
  readonly workerId: number;
  readonly slot: number;
  readonly generation: number;
  readonly maxRequests: number;
}

/** What the engine needs to start that worker. */
export function spawnSpec(
  launch: Launch,
  place: Place,
  listeners: Listeners,
  engine: { name: 'native' | 'js'; capabilities: Capabilities },
  logFd: number,
  seat: Seat | null,
): SpawnSpec {
  const sockets = listeners.bootListeners(place.slot);
  const env: Record<string, string> = {
    ...launch.env,
    ...socketVariables(sockets.listeners, engine.capabilities.listenPid),
    PREFORK_SLOT: String(place.slot),
    PREFORK_WORKER_ID: String(place.workerId),
    PREFORK_GENERATION: String(place.generation),
    SERVER_STARTER_GENERATION: String(place.generation),
  };
  const page = seat === null || seat === 'channel' ? null : seat.fd;
  // After the listeners and the channel.
  const pageNumber = FIRST_LISTENER_FD + sockets.inherit.length + 1;
  if (launch.hook !== null) {
    const boot: WorkerBoot = {
      v: 1,
      engine: engine.name,
      listeners: sockets.boot,
      maxRequests: place.maxRequests,
      ...launch.hook,
      ...(launch.scoreboard && seat && { scoreboard: bootOf(launch.scoreboard, page, pageNumber) }),
    };
    env.PREFORK_WORKER = JSON.stringify(boot);
  }
  const { file, args, cwd, stdio, setsid, dieWithManager, credentials, umask, noNewPrivs, preload } = launch;
  return {
    workerId: place.workerId,
    file,
    args,
    env,
    cwd,
    inherit: sockets.inherit,
    ...(page !== null && { place: [[page, pageNumber]] }),
    channel: launch.hook !== null,
    stdio: [descriptor(stdio[0], logFd), descriptor(stdio[1], logFd), descriptor(stdio[2], logFd)],
    setsid,
    dieWithManager,
    ...(credentials !== null && { uid: credentials.uid, gid: credentials.gid, groups: credentials.groups }),
    ...(umask !== null && { umask }),
    ...(noNewPrivs && { noNewPrivs }),
    ...(preload && { forkserver: { ...preload, generation: place.generation } }),
  };
}

function bootOf({ intervalMs, inspect }: ScoreboardPlan, page: number | null, at: number): BootScoreboard {
  return { fd: page === null ? null : at, intervalMs, inspect };
}

const FIRST_LISTENER_FD = 3;

const descriptor = (stdio: Stdio, logFd: number): number => (stdio === 'log' ? logFd : stdio);

/** SERVER_STARTER_PORT, LISTEN_FDS and its kin, PORT. The first listener is at descriptor 3. */
function socketVariables(listeners: readonly Listener[], listenPid: boolean): Record<string, string> {
  const starter = listeners.map(
    (listener, index) => `${starterName(bound(listener))}=${FIRST_LISTENER_FD + index}`,
  );
  const env: Record<string, string> = { SERVER_STARTER_PORT: starter.join(';') };
  if (listeners.length === 0) return env;
  env.LISTEN_FDS = String(listeners.length);
  // FDNAMES is a list with colons between.
  env.LISTEN_FDNAMES = listeners.map(({ key, name }) => name ?? key.replaceAll(':', '_')).join(':');
  // The addon fills in the pid, which is known only in the child.
  if (listenPid) env.LISTEN_PID = '';
  const port = listeners.find((listener) => listener.fromBind && listener.kind === 'tcp');
  if (port) env.PORT = String(port.boundPort);
  return env;
}

const bound = (listener: Listener): Listener => ({ ...listener, port: listener.boundPort });
