/** A daemon's own life: pid file, privileges, hooks, signals. */
import type { StartReport } from '../control/start-report';
import { describe, describeErrno, preforkError } from '../errors';
import { createLog, type Log } from '../manager/log';
import { PidFile } from '../manager/pid-file';
import { reopenLog } from '../manager/reopen';
import type { DaemonContext, DaemonOptions } from './daemon';
import type { DaemonSettings } from './daemon-options';
import { runHook } from './hooks';

const STOPS = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const;
const FAILED = 1;

export class DaemonSelf {
  readonly #options: DaemonOptions;
  readonly #settings: DaemonSettings;
  readonly #stop = new AbortController();
  #finished = false;

  constructor(options: DaemonOptions, settings: DaemonSettings) {
    this.#options = options;
    this.#settings = settings;
  }

  /** The whole of it, from the start that `report` is told of. Resolves to the exit code. */
  async run(report: StartReport): Promise<number> {
    let pidFile: PidFile | null = null;
    const self = process.pid;
    try {
      const log = this.#openLog();
      const context = this.#context(log);
      pidFile = PidFile.claim(this.#settings.pidFile);
      dropPrivileges(this.#settings);
      this.#listen(log, context);
      await this.#options.init?.(context);
      pidFile.write(process.pid);
      report.ready(`running, pid ${process.pid}`);
      const code = await this.#startup(log, context);
      // A worker that was forked in the middle of it ends here too, and the daemon goes on.
      if (process.pid !== self) return code;
      await this.#hook(log, 'cleanup', () => this.#options.cleanup?.(context, 1));
      return code;
    } catch (error) {
      report.failed(FAILED, describeErrno(error));
      return FAILED;
    } finally {
      if (process.pid === self) pidFile?.release();
    }
  }

  /** In a process that a Prefork of the daemon's has started in the place of a fork. */
  async runWorker(): Promise<number> {
    const log = this.#openLog();
    const context = this.#context(log);
    await this.#options.init?.(context);
    return this.#startup(log, context);
  }

  async #startup(log: Log, context: DaemonContext): Promise<number> {
    try {
      const result = await this.#bounded(this.#options.startup(context));
      if (result === 'late') {
        log.error(
          { event: 'daemon-late' },
          `startup is not done ${this.#settings.stopTimeoutMs} ms after the signal to stop`,
        );
        return FAILED;
      }
      return typeof result === 'number' ? result : 0;
    } catch (err) {
      log.error({ event: 'daemon-failed', err }, `startup failed: ${describe(err)}`);
      return FAILED;
    }
  }

  /** Once told to stop it has so long. */
  async #bounded(work: unknown): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined;
    const { signal } = this.#stop;
    const late = new Promise<'late'>((resolve) => {
      const arm = (): void => {
        timer = setTimeout(resolve, this.#settings.stopTimeoutMs, 'late');
      };
      if (signal.aborted) arm();
      else signal.addEventListener('abort', arm, { once: true });
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #listen(log: Log, context: DaemonContext): void {
    for (const signal of STOPS) process.on(signal, () => this.#stop.abort());
    process.on('SIGUSR1', () => reopenLog(log));
    process.on('SIGHUP', () => {
      void this.#hook(log, 'hangup', () => this.#options.hangup?.(context));
    });
  }

  #openLog(): Log {
    const { logFormat: format, logLevel: level, logFile: destination } = this.#settings;
    return createLog({ format, level, destination });
  }

  #context(log: Log): DaemonContext {
    const { signal } = this.#stop;
    return {
      log,
      signal,
      tick: (finished = false) => {
        if (finished) this.#finished = true;
        return !this.#finished && !signal.aborted;
      },
    };
  }

  async #hook(log: Log, name: string, hook: () => unknown): Promise<void> {
    const report = (problem: string): void => log.error({ event: 'hook-failed', hook: name }, problem);
    await runHook(name, hook, { timeoutMs: this.#settings.hookTimeoutMs, report });
  }
}

/** In this order, since each needs the rights that the next one gives up. */
function dropPrivileges({ credentials }: DaemonSettings): void {
  if (credentials === null) return;
  const { uid, gid, groups } = credentials;
  try {
    if (process.geteuid!() === 0) process.setgroups!([...groups]);
    process.setgid!(gid);
    process.setuid!(uid);
  } catch (error) {
    const problem = `cannot become uid ${uid}, gid ${gid}: ${describeErrno(error)}`;
    throw preforkError('ERR_PREFORK_USER', { where: 'user or group of daemon()', problem }, error);
  }
}
