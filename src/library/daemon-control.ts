/** The commands for a daemon, from the outside; what the daemon itself does is in daemon-self.ts. */
import { closeSync, openSync } from 'node:fs';
import { startProgram } from '../control/daemon';
import { ManagerProcess } from '../control/manager-process';
import { StartReport } from '../control/start-report';
import { describe, describeErrno, preforkError } from '../errors';
import { createLog } from '../manager/log';
import { type PidOwner, pidOwner } from '../manager/pid-owner';
import { formatDuration } from '../options/duration';
import type { Daemon, DaemonContext, DaemonOptions } from './daemon';
import { checkDaemonOptions, type DaemonSettings } from './daemon-options';
import { DaemonSelf } from './daemon-self';
import { runHook } from './hooks';
import { readBoot } from './script';

const LOG_FILE_MODE = 0o640;
/** After KILL. */
const KILL_TIMEOUT_MS = 3000;
/** LSB: of status. */
const status = { running: 0, dead: 1, stopped: 3, unknown: 4 } as const;
const FAILED = 1;

type Running = Extract<PidOwner, { kind: 'manager' }>;

export class DaemonControl implements Daemon {
  readonly #options: DaemonOptions;
  readonly #settings: DaemonSettings;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#settings = checkDaemonOptions(options);
  }

  async ctrl(command: string): Promise<number> {
    const report = StartReport.fromEnvironment();
    const self = new DaemonSelf(this.#options, this.#settings);
    // What it has left open must not keep it.
    if (report !== null) process.exit(await self.run(report));
    // Begun by a Prefork of the daemon's, in the place of a fork.
    if (readBoot() !== null) process.exit(await self.runWorker());
    try {
      return await this.#do(command);
    } catch (error) {
      return this.#fail(describeErrno(error));
    }
  }

  #do(command: string): Promise<number> | number {
    switch (command) {
      case 'start':
        return this.#start();
      case 'stop':
        return this.#stop();
      case 'restart':
        return this.#restart();
      case 'reload':
        return this.#reload();
      case 'status':
        return this.#status();
      default:
        return this.#fail(`there is no command ${command || '(none)'}: start, stop, restart, reload, status`);
    }
  }

  async #start(): Promise<number> {
    const owner = pidOwner(this.#settings.pidFile);
    if (owner.kind === 'foreign') return this.#fail(locked(this.#settings, owner.holder));
    if (owner.kind === 'manager') return this.#say(`already running, pid ${owner.pid ?? '?'}`);
    const context = this.#context();
    await this.#options.preinit?.(context);
    const outcome = await this.#launch();
    const { hookTimeoutMs: timeoutMs } = this.#settings;
    const report = (problem: string): void => void this.#fail(problem);
    await runHook('cleanup', () => this.#options.cleanup?.(context, 0), { timeoutMs, report });
    if (outcome.ready) return this.#say(`started, pid ${outcome.pid}`);
    return this.#fail(`not started: ${outcome.reason}`);
  }

  async #launch() {
    const { logFile, name } = this.#settings;
    const { execPath, execArgv, argv, env } = process;
    if (argv[1] === undefined)
      throw preforkError('ERR_PREFORK_STATE', {
        problem: 'a daemon runs the script of this process, which has none',
      });
    const log = openSync(logFile, 'a', LOG_FILE_MODE);
    try {
      return await startProgram({ file: execPath, args: [...execArgv, ...argv.slice(1)], env, log });
    } catch (error) {
      throw new Error(`${name} cannot be started: ${describe(error)}`, { cause: error });
    } finally {
      closeSync(log);
    }
  }

  async #stop(): Promise<number> {
    const owner = pidOwner(this.#settings.pidFile);
    if (owner.kind === 'foreign') return this.#fail(locked(this.#settings, owner.holder));
    if (owner.kind === 'nobody') return this.#say('not running');
    return this.#end(owner);
  }

  /** TERM, and KILL where that is not enough. */
  async #end({ pid }: Running): Promise<number> {
    const running = pid === null ? null : ManagerProcess.open(pid);
    if (running === null) return this.#say('not running');
    const { stopTimeoutMs } = this.#settings;
    try {
      running.signal('SIGTERM');
      if (await running.ended(stopTimeoutMs)) return this.#say(`stopped, pid ${pid}`);
      running.signal('SIGKILL');
      if (await running.ended(KILL_TIMEOUT_MS))
        return this.#say(`killed, pid ${pid}: it did not stop within ${formatDuration(stopTimeoutMs)}`);
      return this.#fail(`process ${pid} does not end`);
    } finally {
      running.close();
    }
  }

  async #restart(): Promise<number> {
    const stopped = await this.#stop();
    return stopped === 0 ? this.#start() : stopped;
  }

  #reload(): Promise<number> | number {
    const owner = pidOwner(this.#settings.pidFile);
    if (owner.kind !== 'manager') return this.#start();
    const running = owner.pid === null ? null : ManagerProcess.open(owner.pid);
    if (running === null) return this.#start();
    running.signal('SIGHUP');
    running.close();
    return this.#say(`told to reload, pid ${owner.pid}`);
  }

  #status(): number {
    let owner: PidOwner;
    try {
      owner = pidOwner(this.#settings.pidFile);
    } catch (error) {
      this.#say(`unknown: ${describeErrno(error)}`);
      return status.unknown;
    }
    if (owner.kind === 'manager') this.#say(`running, pid ${owner.pid ?? '?'}`);
    else if (owner.kind === 'foreign') this.#say(`unknown: ${locked(this.#settings, owner.holder)}`);
    else this.#say(owner.stale ? 'dead, and its pid file is left' : 'not running');
    if (owner.kind === 'nobody') return owner.stale ? status.dead : status.stopped;
    return owner.kind === 'manager' ? status.running : status.unknown;
  }

  #context(): DaemonContext {
    const { logLevel: level } = this.#settings;
    return {
      log: createLog({ level, format: 'pretty', destination: 2 }),
      signal: new AbortController().signal,
      tick: () => false,
    };
  }

  #say(text: string): 0 {
    process.stdout.write(`${this.#settings.name}: ${text}\n`);
    return 0;
  }

  #fail(problem: string): number {
    process.stderr.write(`${this.#settings.name}: ${problem}\n`);
    return FAILED;
  }
}

const locked = ({ pidFile }: DaemonSettings, holder: number): string =>
  `${pidFile} is locked by process ${holder}, which is no daemon of this name`;
