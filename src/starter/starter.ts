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
import { type Launcher, starterSpec } from './launcher';
import { starterLines } from './log-lines';
import { openLogTarget } from './log-target';
import { portsOf, type StarterOptions } from './options';
import { claimPidFile } from './pid-file';
import { starterPolicy } from './policy';
import { Reporter } from './reporter';
import { openSockets, removeFiles, type StarterSocket } from './sockets';
import { StandInEngine } from './stand-in';
import { StatusFile } from './status';

type Say = (line: string) => void;

/**
 * Runs the service until it has stopped; with `--daemonize`, until it has been started.
 * @throws StarterExit where it cannot be started
 */
export async function runStarter(options: StarterOptions): Promise<number> {
  const handover = takeHandover();
  if (handover !== null) return serve(options, handover.sockets, [1, 2]);
  const log = options.logFile === null ? null : openLogTarget(options.logFile);
  // Up to here, and about the sockets, it is the terminal that is told.
  const say = lineWriter(2);
  say(starterLines.startingNow(process.pid));
  const engine = createEngine();
  const sockets = await openSockets(engine, { ...options, ports: portsOf(options) }, say);
  if (!options.daemonize || log === null)
    return serve(options, sockets, log === null ? [1, 2] : [log, log], engine);
  startDaemon(loadBinding().binding, sockets, log);
  return 0;
}

async function serve(
  options: StarterOptions,
  sockets: readonly StarterSocket[],
  output: readonly [number, number],
  engine: Engine = createEngine(),
): Promise<number> {
  const say = lineWriter(output[1]);
  const status = options.statusFile === null ? null : new StatusFile(options.statusFile);
  let releasePidFile = (): void => {};
  try {
    if (options.pidFile !== null) releasePidFile = await claimPidFile(options.pidFile);
    status?.check();
    return await supervise(options, { engine, sockets, output, say, status });
  } finally {
    status?.remove();
    removeFiles(sockets);
    releasePidFile();
    engine.close();
  }
}

interface Parts {
  readonly engine: Engine;
  readonly sockets: readonly StarterSocket[];
  readonly output: readonly [number, number];
  readonly say: Say;
  readonly status: StatusFile | null;
}

function supervise(
  options: StarterOptions,
  { engine, sockets, output, say, status }: Parts,
): Promise<number> {
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
    engine: new StandInEngine(engine),
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
    credentials: null,
    umask: null,
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
  return { ...quiet, warn: tell, error: tell, fatal: tell, reopen: nothing, fd };
}

function createEngine(): Engine {
  const { binding } = loadBinding();
  return binding === null ? new JsEngine() : new NativeEngine(binding);
}

function lineWriter(fd: number): Say {
  const sink = new LogSink(fd);
  return (line) => sink.write(`${line}\n`);
}
