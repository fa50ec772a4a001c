/** `start_server`: from a command line to a running service and its exit code. */
import type { Policy } from '../core/policy';
import { loadBinding } from '../engine/binding';
import type { Engine } from '../engine/engine';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { Listeners } from '../manager/listeners';
import type { Launch } from '../manager/launch';
import type { Log, LogFields } from '../manager/log';
import { LogSink } from '../manager/log-sink';
import { Manager } from '../manager/manager';
import type { Service } from '../manager/service';
import { startDaemon, takeHandover } from './daemon';
import { Environment } from './environment';
import { StarterExit } from './exit';
import { type Launcher, starterSpec } from './launcher';
import { starterLines } from './log-lines';
import { openLogTarget } from './log-target';
import { portsOf, type StarterOptions } from './options';
import { claimPidFile } from './pid-file';
import { starterPolicy } from './policy';
import { Reporter } from './reporter';
import { openSockets, removeFiles, type StarterSocket } from './sockets';
import { StarterEngine } from './engine';
import { StatusFile } from './status';

type Say = (line: string) => void;

/**
 * Runs the service until it has stopped; with `--daemonize`, until it has been started.
 * @throws StarterExit where it cannot be started
 */
export async function runStarter(options: StarterOptions): Promise<number> {
  const handover = takeHandover();
  const log = handover !== null || options.logFile === null ? null : openLogTarget(options.logFile);
  const output: Output = log === null ? [1, 2] : [log, log];
  // What is said up to here, and about the sockets, is for the terminal.
  const say = lineWriter(2);
  if (handover === null) say(starterLines.startingNow(process.pid));
  const engine = createEngine();
  try {
    const sockets =
      handover?.sockets ?? (await openSockets(engine, { ...options, ports: portsOf(options) }, say));
    if (handover === null && options.daemonize) {
      startDaemon(loadBinding().binding, sockets, output[1]);
      return 0;
    }
    return await serve(options, { engine, sockets, output, say: lineWriter(output[1]) });
  } finally {
    engine.close();
  }
}

type Output = readonly [number, number];

interface Parts {
  readonly engine: Engine;
  readonly sockets: readonly StarterSocket[];
  /** descriptors for 1 and 2 of the workers; lines are said to the second */
  readonly output: Output;
  readonly say: Say;
}

async function serve(options: StarterOptions, parts: Parts): Promise<number> {
  const status = options.statusFile === null ? null : new StatusFile(options.statusFile);
  let releasePidFile = (): void => {};
  try {
    if (options.pidFile !== null) releasePidFile = await claimPidFile(options.pidFile);
    status?.check();
    return await supervise(options, parts, status);
  } catch (error) {
    if (!(error instanceof StarterExit)) throw error;
    // The terminal may have gone, or never been ours.
    parts.say(error.message);
    return error.exitCode;
  } finally {
    status?.remove();
    removeFiles(parts.sockets);
    releasePidFile();
  }
}

function supervise(options: StarterOptions, parts: Parts, status: StatusFile | null): Promise<number> {
  const { engine, sockets, output, say } = parts;
  const environment = new Environment(process.env, options.variables);
  const launcher: Launcher = {
    program: options.program,
    dir: options.dir,
    sockets,
    output,
    variables: () => environment.refresh(),
    listenPid: engine.capabilities.listenPid,
  };
  const policy = (): Policy => starterPolicy(options, environment.settings());
  const reporter = new Reporter(say, status);
  const manager = new Manager({
    engine: new StarterEngine(engine),
    log: problemLog(say, output[1]),
    service: serviceOf(policy, launcher),
    listeners: new Listeners(engine, { reusePort: false, backlog: null }),
    spec: (place) => starterSpec(launcher, place),
    observer: { command: (command, state) => reporter.command(command, state) },
  });
  return manager.run();
}

/** The service as the manager knows it; how workers are started is the launcher's. */
function serviceOf(policy: () => Policy, { program, dir }: Launcher): Service {
  const launch: Launch = {
    file: program[0] as string,
    args: program,
    cwd: dir ?? process.cwd(),
    env: {},
    hook: null,
    scoreboard: null,
    preload: null,
    credentials: null,
    umask: null,
    noNewPrivs: false,
    stdio: [0, 1, 2],
    setsid: false,
    dieWithManager: true,
  };
  const plan = () => ({ policy: policy(), launch, bind: [] });
  return { ...plan(), reusePort: false, backlog: null, statusFile: null, reload: async () => plan() };
}

/** What the core says is the reporter's to tell; only what goes wrong in the manager itself is told here. */
function problemLog(say: Say, fd: number): Log {
  const tell = (fields: LogFields, message: string): void => {
    if (typeof fields.event === 'string') return;
    const { err } = fields;
    say(err instanceof Error ? `${message}:${err.message}` : message);
  };
  const nothing = (): void => {};
  const quiet = { trace: nothing, debug: nothing, info: nothing };
  return { ...quiet, warn: tell, error: tell, fatal: tell, reopen: nothing, fd, file: null };
}

function createEngine(): Engine {
  const { binding } = loadBinding();
  return binding === null ? new JsEngine() : new NativeEngine(binding);
}

function lineWriter(fd: number): Say {
  const sink = new LogSink(fd);
  return (line) => sink.write(`${line}\n`);
}
