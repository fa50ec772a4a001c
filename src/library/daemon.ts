/** `daemon()`: the public face. Light, so that importing the package costs nothing; what it does is in daemon-control.ts. */
import type { Log } from '../manager/log';

/** What the hooks of a daemon are given. */
export interface DaemonContext {
  /** the log file; standard error in the process that gives the command */
  readonly log: Pick<Log, 'debug' | 'info' | 'warn' | 'error'>;
  /** aborted when the daemon is told to stop */
  readonly signal: AbortSignal;
  /**
   * For the daemon's loop, `while (daemon.tick()) …`: whether to go on.
   * @param finished this was the last time: false from now on
   */
  tick(finished?: boolean): boolean;
}

/**
 * A daemon: its files, whom it runs as, and what it does. May be an object of a class of yours; hooks are called as its
 * methods, and may return promises.
 */
export interface DaemonOptions {
  /** how it is called in messages; the script's name by default */
  name?: string;
  /** holds its pid, locked while it runs; relative to the working directory */
  pidFile: string;
  /** what it logs and prints is appended there; opened anew on USR1 */
  logFile: string;
  /** 'info' by default */
  logLevel?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** 'json' by default */
  logFormat?: 'pretty' | 'json';
  /** name or number; the daemon becomes it, with its groups, before `init` */
  user?: string | number;
  /** instead of the user's */
  group?: string | number;
  /** how long it may take to stop before it is killed; 10 s by default */
  stopTimeout?: string | number;
  /** how long `hangup` and `cleanup` are waited for; 10 s by default, 0: for ever */
  hookTimeout?: string | number;
  /** in the process that gives the command, before the daemon is started; what it throws keeps it from being started */
  preinit?(daemon: DaemonContext): unknown;
  /** in the daemon: `start` waits for it, and fails with what it throws */
  init?(daemon: DaemonContext): unknown;
  /** what the daemon does; it ends when this is done. A number that it returns is the exit code */
  startup(daemon: DaemonContext): unknown;
  /** before the end: scope 1 in the daemon, 0 in the process that has started it */
  cleanup?(daemon: DaemonContext, scope: 0 | 1): unknown;
  /** on HUP, and so by `reload` */
  hangup?(daemon: DaemonContext): unknown;
}

export type DaemonCommand = 'start' | 'stop' | 'restart' | 'reload' | 'status';

export interface Daemon {
  /**
   * Does what a command says, and resolves to the exit code of the process that gives it: 0; 1 where it failed, and for a
   * command that there is not; of `status` those of LSB. What there is to say is printed. In the daemon itself, which runs the
   * same script, it does not resolve: the process ends.
   */
  ctrl(command: DaemonCommand | (string & {})): Promise<number>;
}

/**
 * Makes a daemon of a script:
 *
 *     const clock = daemon({ pidFile: 'clock.pid', logFile: 'clock.log', startup: (d) => run(d.signal) });
 *     process.exitCode = await clock.ctrl(process.argv[2] ?? 'start');
 *
 * @throws PreforkError `ERR_PREFORK_OPTION_VALUE`, `ERR_PREFORK_USER`
 */
export function daemon(options: DaemonOptions): Daemon {
  const { DaemonControl } = require('./daemon-control') as typeof import('./daemon-control');
  return new DaemonControl(options);
}
