/**
 * The manager replaces itself (USR2): execve(2) of the node and the prefork that its command line names now, in the same
 * process, with sockets, children and state kept. First the new version is tried as a child on the state; what fails
 * there leaves this manager as it was.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { constants } from 'node:os';
import { addonFile, type Binding } from '../engine/binding';
import { version } from '../cli/version';
import { errnoCode, errnoText } from '../engine/errno';
import { type Handover, type Program, writeHandover } from './handover';
import type { Log } from './log';
import type { Manager } from './manager';
import { upgradeVariables } from './upgrade-environment';

/** For the new version to start as a child and read the state. */
const CHECK_TIMEOUT_MS = 20_000;
/** For other threads to stop taking signals: they need microseconds. */
const HOLD_TIMEOUT_MS = 2_000;
/** How often the new version is tried at most, where a rollout or the like begins each time meanwhile, … */
const MAX_TRIALS = 100;
/** … and how many turns of the loop may pass until one leaves nothing under way. */
const MAX_MOMENTS = 100;
/** Characters of what the new version prints that are looked at. */
const MAX_OUTPUT = 65_536;
/** Where the child finds the state and the addon. */
const CHECK_STATE_FD = 3;
const CHECK_GUARD_FD = 4;

/** Signals that would end a Node.js process before it listens to them, or that it would take for itself. */
const GUARDED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGTERM',
  'SIGTTIN',
  'SIGTTOU',
];

export interface UpgradeDeps {
  readonly binding: Binding;
  readonly log: Log;
  readonly manager: Manager;
  readonly program: Program;
  /** everything that the successor needs */
  readonly collect: (guardFd: number) => Handover;
}

export class Upgrade {
  readonly #deps: UpgradeDeps;
  /** the addon's file, kept open: its directory may be gone when it is needed */
  readonly #guardFd: number;
  #active = false;
  #child: ChildProcess | null = null;

  /** Throws what openSync throws where the addon's file is gone already. */
  constructor(deps: UpgradeDeps) {
    this.#deps = deps;
    this.#guardFd = openSync(addonFile(), 'r');
  }

  /** Begins one, unless one is under way: that one runs the code of the moment of its exec, too. */
  begin(): void {
    if (this.#active) return;
    this.#active = true;
    void this.#upgrade()
      .catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
      .then((reason) => {
        this.#active = false;
        if (reason === null) return;
        const { log, program } = this.#deps;
        log.error(
          { event: 'upgrade-failed', reason },
          `the upgrade is given up, this manager (${program.version}) goes on: ${reason}`,
        );
      });
  }

  /** Ends the child that is being tried, if any. */
  close(): void {
    this.#child?.kill('SIGKILL');
    this.#deps.binding.close(this.#guardFd);
  }

  /** Why it failed; null: the service stops instead. */
  async #upgrade(): Promise<string | null> {
    const { log, manager, program } = this.#deps;
    log.info({ event: 'upgrade-started', script: program.script }, `upgrade: trying ${program.script}`);
    for (let attempt = 0; attempt < MAX_TRIALS; attempt++) {
      await nextTurn();
      const { underWay } = manager;
      if (underWay !== null)
        log.info({ event: 'upgrade-waits', for: underWay }, `the upgrade waits: ${underWay}`);
      if (!(await manager.settled())) return null;
      const problem = await this.#tryAsChild();
      if (problem !== null) return manager.isStopping ? null : problem;
      // What was tried is what runs, if nothing comes between. Else it is tried once more.
      for (let moment = 0; moment < MAX_MOMENTS && manager.underWay === null; moment++) {
        const reason = await this.#replaceIfQuiet();
        if (reason !== null) return reason;
      }
    }
    return 'the manager is never at rest';
  }

  /** Returns only where this is still the old program: why, or null where it was no good moment. */
  async #replaceIfQuiet(): Promise<string | null> {
    const { binding, manager } = this.#deps;
    const signals = this.#signals();
    const held = binding.holdSignals(signals, HOLD_TIMEOUT_MS);
    if (held < 0) return `cannot hold signals back: ${errnoText(errnoCode(held))}`;
    try {
      // Signals from before that are on their way through the event loop have come through after one whole turn.
      await nextTurn();
      await nextTurn();
      return manager.underWay === null ? this.#replace(signals) : null;
    } finally {
      binding.sigprocmask(1, signals);
    }
  }

  #replace(signals: readonly number[]): string {
    const { binding, collect, log, program } = this.#deps;
    const { execPath, script } = program;
    log.info({ event: 'upgrade-exec', execPath, script }, `upgrade: replacing this manager by ${script}`);
    const handover = collect(this.#guardFd);
    const fd = writeHandover(binding, handover);
    if (fd < 0) return `cannot write the state down: ${errnoText(errnoCode(fd))}`;
    try {
      const variables = upgradeVariables({ kind: 'take-over', fd, signals }, this.#guardFd);
      const error = binding.execve(
        execPath,
        commandLine(program, script),
        environmentLines({ ...process.env, ...variables }),
        [fd, ...handover.fds],
        signals,
      );
      return `cannot run ${execPath}: ${errnoText(errnoCode(error))}`;
    } finally {
      binding.close(fd);
    }
  }

  /** Why the new version cannot take over; null: it can. */
  async #tryAsChild(): Promise<string | null> {
    const { binding, collect, program } = this.#deps;
    const fd = writeHandover(binding, collect(this.#guardFd));
    if (fd < 0) return `cannot write the state down: ${errnoText(errnoCode(fd))}`;
    const [, ...args] = commandLine(program, program.script);
    const task = { kind: 'check', fd: CHECK_STATE_FD, signals: this.#signals() } as const;
    const child = spawn(program.execPath, args, {
      argv0: program.argv0,
      env: { ...process.env, ...upgradeVariables(task, CHECK_GUARD_FD) },
      stdio: ['ignore', 'pipe', 'pipe', fd, this.#guardFd],
    });
    binding.close(fd);
    this.#child = child;
    const verdict = await verdictOf(child);
    this.#child = null;
    return verdict;
  }

  #signals(): number[] {
    const names = new Set([
      ...GUARDED,
      ...(Object.keys(this.#deps.manager.state.policy.signals) as NodeJS.Signals[]),
    ]);
    return [...names].map((name) => constants.signals[name]).filter((number) => number > 0 && number < 32);
  }
}

/** What the child that tries the take-over prints when it could. */
export const CHECK_PASSED = 'prefork-upgrade-ok';

/** Why the child says no; null: it says yes. */
function verdictOf(child: ChildProcess): Promise<string | null> {
  let output = '';
  let errors = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-MAX_OUTPUT);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-MAX_OUTPUT);
  });
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      resolve(`the new version gave no answer within ${CHECK_TIMEOUT_MS / 1000} s`);
    }, CHECK_TIMEOUT_MS);
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve(`the new version cannot be started: ${error.message}`);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0 && output.trimEnd() === CHECK_PASSED) return resolve(null);
      const how = signal === null ? `exited with code ${code}` : `was ended by ${signal}`;
      resolve(`the new version ${how}: ${reasonIn(errors) ?? 'it said nothing'}`);
    });
  });
}

/** The line of a program's last words that says what went wrong. */
function reasonIn(errors: string): string | undefined {
  const lines = errors.split('\n').filter((line) => line.trim() !== '');
  return (
    lines.find((line) => /^(prefork: |\w*Error\b)/.test(line))?.replace(/^prefork: /, '') ?? lines.at(-1)
  );
}

/** How this process can be started again, by the name `script` of its script. */
export function thisProgram(script: string): Program {
  const { execPath, argv0, execArgv, argv } = process;
  const scriptFile = require.main?.filename ?? script;
  return { version: version(), execPath, argv0, execArgv, script, scriptFile, args: argv.slice(2) };
}

/** argv of that program, from another file than it was loaded from where `script` says so. */
export function commandLine({ argv0, execArgv, args }: Program, script: string): string[] {
  return [argv0, ...execArgv, script, ...args];
}

export function environmentLines(env: NodeJS.ProcessEnv): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
