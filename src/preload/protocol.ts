/**
 * What manager and forkserver say to each other, over the forkserver's channel (SOCK_SEQPACKET, PREFORK_CHANNEL as for a
 * worker): one JSON object a packet.
 *
 * A forkserver is started like a worker (same file, arguments, environment and descriptors, its listeners included), but with
 * `--require dist/preload/forkserver.js` in the place of the worker's hook, and PREFORK_FORKSERVER in the place of PREFORK_WORKER.
 * Closing the channel ends it, once it is frozen; before that it is ended by a signal.
 *
 * The manager sends one {@link ForkCommand} for each worker, with the worker's descriptors; each is answered, in order, by
 * `forked` or `forkFailed`. The worker is the manager's own child (CLONE_PARENT): register the pid, and watch it with a pidfd.
 * It says `hello` on its own channel like any other. A forkserver that dies between fork and answer leaves a worker whose
 * `hello` tells its pid.
 */

export const FORKSERVER_VERSION = 1;

/** A packet that is longer is refused by the kernel of the sender, by default. */
export const MAX_COMMAND_BYTES = 131_072;

/** PREFORK_FORKSERVER, as JSON. */
export interface ForkserverBoot {
  v: typeof FORKSERVER_VERSION;
  /** freeze at the first listen() or bind(), or as soon as nothing is left to do: for programs without a server */
  until: 'listen' | 'idle';
  safety: 'refuse' | 'warn';
  /** a module whose default export or `warmup` is called before the freeze; absolute path. null: that of the program, if it has one */
  warmup: string | null;
  /** after this time without coming to rest, `busy` says what is in the way; it goes on waiting */
  busyAfterMs: number;
  /** workers die with the manager, whatever they do */
  dieWithManager: boolean;
  /** how each line that it prints is marked, and then those of its workers; absent: not at all */
  tagOutput?: 'pretty' | 'json';
}

/** Manager to forkserver. The packet's descriptors belong to `fds`, one by one. */
export interface ForkCommand {
  v: typeof FORKSERVER_VERSION;
  /**
   * The worker's environment as for spawn; variables that are equal to the forkserver's own may be left out. PREFORK_WORKER and
   * PREFORK_CHANNEL included. An empty LISTEN_PID gets the worker's pid.
   */
  env: Readonly<Record<string, string>>;
  /**
   * The numbers by which `env` means the descriptors. 0 to 2 are replaced if given. Numbers that the forkserver got at its own
   * start (up to its channel's) are kept; for higher ones the worker changes PREFORK_WORKER, PREFORK_CHANNEL and
   * SERVER_STARTER_PORT to where the descriptor is, and takes LISTEN_FDS away.
   */
  fds: readonly number[];
}

/** Forkserver to manager. */
export type ForkserverMessage =
  /** it runs; sent once, first */
  | { type: 'forkserver'; pid: number }
  /** does not come to rest: what is in the way */
  | { type: 'busy'; problems: readonly string[] }
  /** not safe to fork; with `refuse` it exits with code 1 afterwards */
  | { type: 'unsafe'; problems: readonly string[]; refused: boolean }
  /** ready for commands */
  | { type: 'frozen'; listens: readonly string[]; notes: readonly string[]; rssBytes: number }
  /** the program ended before there was a fork point */
  | { type: 'ended'; code: number }
  | { type: 'forked'; pid: number }
  /** `pid`: a child that ended and is the manager's to reap, or 0. The thread in the way, where one is: '' and 0 otherwise */
  | {
      type: 'forkFailed';
      errno: number;
      step: string;
      pid: number;
      thread: string;
      tid: number;
      syscall: number;
    };
