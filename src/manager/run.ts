/** `prefork run`: from checked options to a running manager and its exit code. */
import { join } from 'node:path';
import { version } from '../cli/version';
import { Control } from '../control/control';
import type { StartReport } from '../control/start-report';
import type { StatusFacts } from '../control/status';
import {
  defaultPolicy,
  type Policy,
  type SignalAction,
  type SignalTable,
  signalPresets,
} from '../core/policy';
import type { State } from '../core/state';
import { loadBinding } from '../engine/binding';
import { nowMs } from '../engine/clock';
import type { Engine, PreloadEvent, Signal } from '../engine/engine';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { describe, describeErrno, exitCodes, PreforkError, preforkError } from '../errors';
import type { Metrics, MetricsHandover, MetricsStart } from '../metrics/metrics';
import { Notifier } from '../notify/notifier';
import { ServiceManagerLink } from '../notify/service-manager';
import { digestOf, readToken } from '../options/control-token';
import { loadRunOptions, type RunOptions } from '../options/load';
import { Board } from '../scoreboard/board';
import { displayAddress } from './addresses';
import { openBinds } from './binds';
import { Census } from './census';
import type { Embedding } from './embedding';
import { readEnvDir } from './env-dir';
import { adapted, descriptorsOf, HANDOVER_SCHEMA, type Handover } from './handover';
import { KeptWorkers, keepOf, keptWorkers, welcome } from './keep';
import { LastExits } from './last-exits';
import type { Launch } from './launch';
import { Listeners } from './listeners';
import { Lobby } from './lobby';
import { createLog, type Log } from './log';
import { Manager, type ManagerHandover } from './manager';
import { describeStatus } from './messages';
import { Monitor } from './monitor';
import { observers } from './observers';
import { PidFile } from './pid-file';
import { processAgeMs } from './pid-owner';
import { reopenLog } from './reopen';
import type { GenerationPlan, Service } from './service';
import { thisProgram, Upgrade } from './upgrade';

const HOOK = join(__dirname, '..', 'worker', 'hook.js');
const FORKSERVER = join(__dirname, '..', 'preload', 'forkserver.js');
/** What this process's parent says to it alone. */
const PARENTS_VARIABLES = [
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_PIDFDID',
  'LISTEN_FDNAMES',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
];
/** After so long without coming to rest, a forkserver says what is in the way. */
const BUSY_AFTER_MS = 5000;

/**
 * Runs the service of `options` in this process until it has stopped. Resolves to the exit code.
 * `report` is told how the start went, in the place of standard error.
 */
export async function runManager(options: RunOptions, report: StartReport | null = null): Promise<number> {
  try {
    const code = await manage(options, report);
    report?.ended(code);
    return code;
  } catch (error) {
    if (!(error instanceof PreforkError)) {
      report?.failed(exitCodes.unusable, describe(error));
      throw error;
    }
    if (report) report.failed(error.exitCode, error.line);
    else process.stderr.write(`prefork: ${error.line}\n`);
    return error.exitCode;
  }
}

/**
 * Runs the service inside a program: without a word on standard error, a service manager's notifications or a replacement of
 * the process. Rejects with what {@link runManager} would print.
 */
export function runEmbedded(options: RunOptions, embedding: Embedding): Promise<number> {
  return manage(options, null, embedding);
}

async function manage(
  options: RunOptions,
  report: StartReport | null,
  embedding: Embedding | null = null,
): Promise<number> {
  const tokenDigest = tokenDigestOf(options);
  const log = openLog(options);
  const engine = createEngine(options);
  const listeners = new Listeners(engine, options);
  const board = new Board(engine instanceof NativeEngine ? loadBinding().binding : null);
  const exits = new LastExits();
  const protocols = new Map<string, string>();
  const expected = keptWorkers(options);
  const own = { engine, log, listeners, board, exits, protocols };
  const { control, lobby } = makeControl(own, expected.length > 0);
  const metrics = makeMetrics(options, { ...own, control }, { tokenDigest });
  const parts: Parts = { ...own, control, metrics, pidFile: null, report, embedding };
  let finish = (): void => close(parts);
  try {
    if (options.pidFile !== null) parts.pidFile = claimPidFile(options.pidFile);
    if (lobby !== null) await control.open(options);
    const guests = lobby === null ? [] : await lobby.gather(expected);
    const plan = planOf(options, await openBinds(engine, listeners, options.bind));
    if (options.engineReason !== null) log.warn({}, `using the js engine: ${options.engineReason}`);
    const former = engine instanceof NativeEngine ? welcome(guests, engine, plan, log) : null;
    const service = makeService(options, plan, parts, former && { former });
    finish = service.finish;
    if (lobby === null) await control.open(options);
    if (parts.metrics !== null && options.metrics !== null) await parts.metrics.open(options.metrics);
    await embedding?.begins({ control, log, board });
    // From its first turn on it listens to signals: whoever reads the pid may send one.
    const ended = service.manager.run();
    if (parts.pidFile !== null) await writePid(parts.pidFile, service.manager, ended);
    return await ended;
  } finally {
    finish();
  }
}

function claimPidFile(path: string): PidFile {
  try {
    return PidFile.claim(path);
  } catch (error) {
    throw error instanceof PreforkError ? error : pidFileError(path, error);
  }
}

/** Where the disk is full the service is ended: nobody would find it. */
async function writePid(pidFile: PidFile, manager: Manager, ended: Promise<number>): Promise<void> {
  try {
    pidFile.write(process.pid);
  } catch (error) {
    manager.post({ type: 'control', request: { do: 'stop', graceful: false } });
    await ended;
    throw pidFileError(pidFile.path, error);
  }
}

const pidFileError = (path: string, error: unknown): PreforkError =>
  preforkError('ERR_PREFORK_PATH', { where: '--pid-file', path, problem: describeErrno(error) }, error);

/**
 * Goes on with the service of the manager that this process was before it replaced itself. Everything that can fail is
 * done here, and nothing that could not be done again: the manager runs with `run()`, and `finish()` comes after it.
 */
export function resumeManager(written: Handover): { manager: Manager; log: Log; finish(): void } {
  const handover = adapted(written, { hook: HOOK, forkserver: FORKSERVER });
  const { options, manager: former } = handover;
  const log = openLog(options);
  const engine = createEngine(options);
  const listeners = new Listeners(engine, options);
  listeners.takeOver(handover.listeners);
  const board = new Board(loadBinding().binding);
  const exits = new LastExits(handover.exits);
  board.takeOver(handover.board);
  if (engine instanceof NativeEngine) engine.takeOver(handover.engine);
  const pidFile = handover.pidFile && PidFile.takeOver(handover.pidFile.path, handover.pidFile.fd);
  const [, plan] = former.plans.find(([generation]) => generation === former.state.generation) ?? [];
  if (plan === undefined) throw new Error('the state has no plan of the generation that serves');
  const protocols = new Map(handover.protocols);
  const own = { engine, log, listeners, board, exits, protocols };
  const { control } = makeControl(own, false);
  const metrics = makeMetrics(options, { ...own, control }, handover.metrics);
  const parts: Parts = { ...own, control, metrics, pidFile, report: null, embedding: null };
  const service = makeService(options, plan, parts, { former, script: handover.former.script });
  if (handover.control) control.resume(handover.control);
  return { log, manager: service.manager, finish: service.finish };
}

function openLog(options: RunOptions): Log {
  const { logFormat: format, logLevel: level, logFile } = options;
  return createLog({ format, level, destination: logFile ?? 2 });
}

/** `expectsWorkers`: some serve without a manager, and come in there. */
function makeControl(
  parts: Pick<Parts, 'engine' | 'log' | 'listeners' | 'board' | 'exits' | 'protocols'>,
  expectsWorkers: boolean,
): { control: Control; lobby: Lobby | null } {
  const { engine, log, listeners } = parts;
  const binding = engine instanceof NativeEngine ? loadBinding().binding : null;
  const startedAtMs = nowMs() - (processAgeMs('self') ?? process.uptime() * 1000);
  const lobby = binding && expectsWorkers ? new Lobby(binding, listeners) : null;
  const facts = (): StatusFacts => ({
    version: version(),
    engine: engine.name,
    startedAtMs,
    addresses: addressesOf(parts),
    scoreboard: parts.board,
    lastExit: (slot, now) => parts.exits.of(slot, now),
  });
  return { control: new Control(binding, log, facts, lobby), lobby };
}

/** Of the token that is good for the whole life of the service; null: none is. */
function tokenDigestOf({ controlToken: path }: RunOptions): string | null {
  if (path === null) return null;
  const read = readToken(path);
  if ('token' in read) return digestOf(read.token).toString('hex');
  throw preforkError('ERR_PREFORK_PATH', { where: '--control-token', path, problem: read.problem });
}

/** null: nobody wants them. Loaded only then. */
function makeMetrics(
  { metrics: wanted }: RunOptions,
  {
    engine,
    log,
    listeners,
    board,
    control,
  }: Pick<Parts, 'engine' | 'log' | 'listeners' | 'board' | 'control'>,
  from: MetricsHandover | MetricsStart | null,
): Metrics | null {
  if (wanted === null) return null;
  const { Metrics } = require('../metrics/metrics') as typeof import('../metrics/metrics');
  const binding = engine instanceof NativeEngine ? loadBinding().binding : null;
  const startedAtMs = nowMs() - (processAgeMs('self') ?? process.uptime() * 1000);
  const deps = {
    binding,
    log,
    listeners,
    scoreboard: board,
    engine: engine.name,
    startedAtMs,
    status: () => control.status,
    control: control.handle,
  };
  return new Metrics(deps, from ?? { tokenDigest: null });
}

interface Parts {
  engine: Engine;
  log: Log;
  listeners: Listeners;
  board: Board;
  exits: LastExits;
  control: Control;
  metrics: Metrics | null;
  pidFile: PidFile | null;
  /** listener's key → what is spoken there */
  protocols: Map<string, string>;
  /** null: nobody waits for the start */
  report: StartReport | null;
  /** null: the process is this manager's alone */
  embedding: Embedding | null;
}

/** A manager with what is around it, and the end of all. */
interface Composed {
  readonly manager: Manager;
  finish(): void;
}

function close({ engine, listeners, board, control, metrics, pidFile }: Parts): void {
  control.close();
  metrics?.close();
  listeners.close();
  engine.close();
  board.closeAll();
  pidFile?.release();
}

/** `resumed`: what the manager goes on from, and the script that this process was started as where that is another. */
function makeService(
  options: RunOptions,
  plan: GenerationPlan,
  parts: Parts,
  resumed: { former: ManagerHandover; script?: string } | null,
): Composed {
  const { engine, log, listeners, board, control, protocols, report, embedding } = parts;
  const service: Service = {
    ...plan,
    reusePort: options.reusePort,
    backlog: options.backlog,
    statusFile: options.statusFile,
    reload: () => reload(options, parts),
  };
  if (engine instanceof NativeEngine) engine.onPreload = (event) => logPreload(log, event);
  const binding = engine instanceof NativeEngine ? loadBinding().binding : null;
  const notifier = embedding ? null : Notifier.fromEnvironment(binding, log);
  const link = notifier && new ServiceManagerLink(notifier, (event) => manager.post(event));
  const keep = KeptWorkers.of(options, log);
  const census = new Census({
    scoreboard: board,
    limitOf: (generation) => manager.planOf(generation)?.launch.hook?.maxMemory ?? null,
    post: (event) => manager.post(event),
  });
  const manager: Manager = new Manager({
    engine,
    log,
    service,
    listeners,
    board,
    ...(resumed && { former: resumed.former }),
    ...(engine instanceof NativeEngine && { upgrade: () => beginUpgrade(log, upgrade) }),
    reopenLogs: () => reopenLog(log),
    observer: observers(
      control.observer,
      parts.exits,
      ...(parts.metrics ? [parts.metrics.observer] : []),
      ...(report ? [report] : []),
      ...(link ? [link] : []),
      ...(keep ? [keep] : []),
      ...(embedding ? [embedding.observer] : []),
      census,
      {
        engineEvent(event) {
          if (event.type !== 'message') return;
          const message = event.message as { type?: unknown; key?: unknown; protocol?: unknown };
          if (message?.type === 'listening') protocols.set(String(message.key), String(message.protocol));
        },
        command(command, state) {
          if (command.type === 'started') announce(parts, state);
          if (command.type === 'exit') upgrade?.close();
        },
      },
    ),
  });
  const upgrade =
    engine instanceof NativeEngine && !embedding
      ? makeUpgrade(options, parts, engine, manager, resumed?.script)
      : null;
  control.attach(manager);
  parts.metrics?.attach(manager);
  const monitor = new Monitor(manager, board, log);
  monitor.start();
  const finish = (): void => {
    monitor.close();
    link?.close();
    keep?.close();
    census.close();
    close(parts);
  };
  return { manager, finish };
}

function beginUpgrade(log: Log, upgrade: Upgrade | null): void {
  if (upgrade !== null) upgrade.begin();
  else log.warn({ event: 'upgrade-failed' }, 'a manager inside another program cannot replace itself');
}

/** `script`: as it was named, where this process was started by another name (after a failed take-over). */
function makeUpgrade(
  options: RunOptions,
  { log, listeners, board, exits, control, metrics, pidFile, protocols }: Parts,
  engine: NativeEngine,
  manager: Manager,
  script = process.argv[1],
): Upgrade | null {
  const { binding } = loadBinding();
  if (binding === null || script === undefined) return null;
  const program = thisProgram(script);
  const collect = (guardFd: number): Handover => {
    const kept = {
      engine: engine.handOver(),
      listeners: listeners.handOver(),
      board: board.handOver(),
      pidFile: pidFile && { path: pidFile.path, fd: pidFile.fd },
      control: control.handover,
      metrics: metrics?.handOver() ?? null,
      guardFd,
    };
    return {
      schema: HANDOVER_SCHEMA,
      former: program,
      fds: descriptorsOf(kept),
      atMs: nowMs(),
      options,
      manager: manager.handOver(),
      exits: exits.handOver(),
      protocols: [...protocols],
      hook: HOOK,
      ...kept,
    };
  };
  return new Upgrade({ binding, log, manager, program, collect });
}

function addressesOf({ listeners, protocols }: Pick<Parts, 'listeners' | 'protocols'>): string[] {
  return listeners
    .all()
    .map((listener) =>
      displayAddress({ ...listener, port: listener.boundPort }, protocols.get(listener.key) ?? 'tcp'),
    );
}

function announce(parts: Parts, state: State): void {
  const { engine, log, report } = parts;
  const addresses = addressesOf(parts);
  const pids = state.workers.filter((w) => w.phase === 'ready').map((w) => w.pid);
  const where = addresses.length > 0 ? `serving ${addresses.join(', ')}` : 'running';
  const message = `${where} with ${pids.length} workers (${engine.name} engine, manager ${process.pid}, workers ${pids.join(' ')})`;
  log.info({ event: 'serving', addresses, pids, engine: engine.name, pid: process.pid }, message);
  report?.ready(message);
}

async function reload(former: RunOptions, { engine, listeners }: Parts): Promise<GenerationPlan> {
  const options = await loadRunOptions(former.invocation);
  if (options instanceof PreforkError) throw options;
  return planOf(options, await openBinds(engine, listeners, options.bind));
}

function createEngine(options: RunOptions): Engine {
  if (options.engine === 'js') return new JsEngine();
  const { binding, reason } = loadBinding();
  if (binding === null)
    throw preforkError('ERR_PREFORK_ADDON_MISSING', { reason: reason ?? 'unknown', advice: '' });
  return new NativeEngine(binding);
}

function planOf(options: RunOptions, requiredKeys: readonly string[]): GenerationPlan {
  return { policy: policyOf(options, requiredKeys), launch: launchOf(options), bind: options.bind };
}

function policyOf(options: RunOptions, requiredKeys: readonly string[]): Policy {
  const most = options.maxWorkers ?? options.workers;
  return {
    ...defaultPolicy,
    workers: options.workers,
    minWorkers: options.minWorkers ?? defaultPolicy.minWorkers,
    maxWorkers: options.maxWorkers ?? defaultPolicy.maxWorkers,
    elastic: options.elastic,
    ready: options.ready,
    startIntervalMs: options.intervalMs,
    readyTimeoutMs: options.readyTimeoutMs,
    gracefulTimeoutMs: options.gracefulTimeoutMs,
    rollout: options.rollout,
    rolloutBatch: options.rolloutBatch,
    rolloutReady: options.rolloutReady,
    spare: options.spare,
    spawnBurst: Math.max(defaultPolicy.spawnBurst, most * 8),
    spawnPerSecond: Math.max(defaultPolicy.spawnPerSecond, most),
    maxRequests: options.maxRequests,
    maxRequestsJitter: options.maxRequestsJitter,
    maxAgeMs: options.maxAgeMs,
    requiredKeys,
    signals: signalsOf(options),
  };
}

/** `trapSignals` replaces the preset: TERM, INT and QUIT stop, with their signal to the workers; others are passed on. */
function signalsOf({ signals, trapSignals }: RunOptions): SignalTable {
  if (trapSignals === null) return signalPresets[signals];
  const table: Partial<Record<Signal, SignalAction>> = {};
  for (const [signal, toWorkers] of Object.entries(trapSignals) as [Signal, Signal][]) {
    const stops = signal === 'SIGTERM' || signal === 'SIGINT' || signal === 'SIGQUIT';
    table[signal] = stops ? { do: 'stop', signal: toWorkers } : { do: 'forward', signal: toWorkers };
  }
  return table;
}

function launchOf(options: RunOptions): Launch {
  const { entry, args, nodeArgs, cwd, credentials, umask, envDir, logFile } = options;
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  for (const name of PARENTS_VARIABLES) delete env[name];
  if (envDir !== null) Object.assign(env, readEnvDir(envDir));
  const keep = keepOf(options);
  return {
    file: process.execPath,
    args: [process.execPath, ...nodeArgs, '--require', HOOK, entry, ...args],
    cwd,
    env,
    hook: {
      ready: options.ready,
      backlog: options.backlog,
      lingerMs: options.keepaliveLingerMs,
      ...(keep && { keep }),
      ...(options.tagOutput && { tagOutput: options.logFormat }),
      ...(options.maxMemoryBytes > 0 && {
        maxMemory: { bytes: options.maxMemoryBytes, privateOnly: options.preload },
      }),
    },
    scoreboard: scoreboardOf(options),
    preload: preloadOf(options),
    credentials,
    umask,
    noNewPrivs: !options.newPrivs,
    stdio: logFile === null ? [-1, 1, 2] : [-1, 'log', 'log'],
    setsid: true,
    dieWithManager: options.onManagerDeath === 'stop',
  };
}

function scoreboardOf(options: RunOptions): Launch['scoreboard'] {
  const {
    scoreboard,
    heartbeatIntervalMs: intervalMs,
    heartbeatTimeoutMs: timeoutMs,
    stuckStack: inspect,
  } = options;
  return scoreboard ? { intervalMs, timeoutMs, inspect } : null;
}

function preloadOf(options: RunOptions): Launch['preload'] {
  if (!options.preload) return null;
  const boot = {
    // A program that says itself when it is ready may have no socket to stop at.
    until: options.ready === 'listen' ? ('listen' as const) : ('idle' as const),
    safety: options.forkSafety,
    warmup: options.warmup,
    busyAfterMs: BUSY_AFTER_MS,
    ...(options.tagOutput && { tagOutput: options.logFormat }),
  };
  return { boot, preload: { instead: HOOK, file: FORKSERVER } };
}

function logPreload(log: Log, { type, ...fields }: PreloadEvent): void {
  const about = { event: `forkserver-${type}`, ...fields };
  const name = `the forkserver ${fields.pid} of generation ${fields.generation}`;
  if ('rssBytes' in fields) {
    const notes = fields.notes.length === 0 ? '' : `; shared with its workers: ${fields.notes.join('; ')}`;
    log.info(about, `${name} has loaded the program (${Math.round(fields.rssBytes / 1e6)} MB)${notes}`);
  } else if ('problems' in fields) {
    const what = type === 'busy' ? 'does not come to rest' : 'is not safe to fork';
    log.warn(about, `${name} ${what}: ${fields.problems.join('; ')}`);
  } else {
    log.warn(
      about,
      `${name} ${describeStatus(fields.status)}; its workers go on, and the next one starts another`,
    );
  }
}
