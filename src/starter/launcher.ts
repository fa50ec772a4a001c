/** How the workers of `start_server` are started. */
import type { SpawnSpec } from '../engine/engine';
import type { StarterSocket } from './sockets';

export interface Launcher {
  readonly program: readonly string[];
  /** null: the manager's own */
  readonly dir: string | null;
  readonly sockets: readonly StarterSocket[];
  /** descriptors here for 1 and 2 of the workers */
  readonly output: readonly [number, number];
  /** the variables of the service as they are now */
  readonly variables: () => Readonly<Record<string, string>>;
  /** the engine can tell a worker its own pid */
  readonly listenPid: boolean;
}

export interface Place {
  readonly workerId: number;
  readonly slot: number;
  readonly generation: number;
}

/** Reads the variables and returns what the engine needs to start that worker. */
export function starterSpec(launcher: Launcher, place: Place): SpawnSpec {
  const { program, dir, sockets, output } = launcher;
  const stdio: [number, number, number] = [0, ...output];
  const placed: [number, number][] = [];
  for (const { source, fd } of sockets) {
    if (fd <= 2) stdio[fd] = source;
    else placed.push([source, fd]);
  }
  return {
    workerId: place.workerId,
    file: program[0] as string,
    args: program,
    env: {
      ...launcher.variables(),
      ...socketVariables(launcher),
      PREFORK_SLOT: String(place.slot),
      PREFORK_WORKER_ID: String(place.workerId),
      PREFORK_GENERATION: String(place.generation),
      SERVER_STARTER_GENERATION: String(place.generation),
    },
    ...(dir !== null && { cwd: dir }),
    inherit: [],
    place: placed,
    channel: false,
    stdio,
    setsid: false,
    dieWithManager: true,
    ignoreSigpipe: true,
  };
}

/** SERVER_STARTER_PORT; LISTEN_FDS and its kin as well where the numbers are those that they can express. */
function socketVariables({ sockets, listenPid }: Launcher): Record<string, string> {
  const env: Record<string, string> = {
    SERVER_STARTER_PORT: sockets.map(({ key, fd }) => `${key}=${fd}`).join(';'),
  };
  if (sockets.length === 0 || !sockets.every(({ fd }, index) => fd === 3 + index)) return env;
  env.LISTEN_FDS = String(sockets.length);
  // A list with colons between.
  env.LISTEN_FDNAMES = sockets.map(({ key }) => key.replaceAll(':', '_')).join(':');
  // The addon fills it in, since the pid is known only in the child.
  if (listenPid) env.LISTEN_PID = '';
  return env;
}
