/** `prefork run`: from checked options to a running manager and its exit code. */
import { join } from 'node:path';
import { type Policy, type SignalAction, type SignalTable, signalPresets } from '../core/policy';
import type { State } from '../core/state';
import { loadBinding } from '../engine/binding';
import { nowMs } from '../engine/clock';
import type { Engine, PreloadEvent, Signal } from '../engine/engine';
import { errnoText } from '../engine/errno';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { PreforkError, preforkError } from '../errors';
import type { Address } from '../options/address';
import { loadRunOptions, type RunOptions } from '../options/load';
import { displayAddress, formatSocketAddress, resolveAddress } from './addresses';
import { readEnvDir } from './env-dir';
import { adapted, descriptorsOf, type Handover, HANDOVER_SCHEMA } from './handover';
import type { Launch } from './launch';
import { Listeners } from './listeners';
import { createLog, type Log } from './log';
import { Manager, type ManagerHandover } from './manager';
import { describeStatus } from './messages';
import { PidFile } from './pid-file';
import { defaultPolicy } from '../core/policy';
import type { GenerationPlan, Service } from './service';
import { thisProgram, Upgrade } from './upgrade';

const HOOK = join(__dirname, '..', 'worker', 'hook.js');
const FORKSERVER = join(__dirname, '..', 'preload', 'forkserver.js');
/** After so long without coming to rest, a forkserver says what is in the way. */
const BUSY_AFTER_MS = 5000;

/** Runs the service of `options` in this process until it has stopped. Resolves to the exit code. */
export async function runManager(options: RunOptions): Promise<number> {
  const log = openLog(options);
  let pidFile: PidFile | null = null;
  const engine = createEngine(options);
  const listeners = new Listeners(engine, options);
  try {
    if (options.pidFile !== null) pidFile = PidFile.claim(options.pidFile);
    const plan = await planOf(options, log);
    await openBinds(engine, listeners, options.bind);
    pidFile?.write(process.pid);
    if (options.engineReason !== null) log.warn({}, `using the js engine: ${options.engineReason}`);
    return await makeManager(options, plan, { engine, log, listeners, pidFile, protocols: new Map() }).run();
  } catch (error) {
    if (!(error instanceof PreforkError)) throw error;
    process.stderr.write(`prefork: ${error.message}\n`);
    return error.exitCode;
  } finally {
    listeners.close();
    engine.close();
    pidFile?.release();
  }
}

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
  if (engine instanceof NativeEngine) engine.takeOver(handover.engine);
  const pidFile = handover.pidFile && PidFile.takeOver(handover.pidFile.path, handover.pidFile.fd);
  const [, plan] = former.plans.find(([generation]) => generation === former.state.generation) ?? [];
  if (plan === undefined) throw new Error('the state has no plan of the generation that serves');
  const parts = { engine, log, listeners, pidFile, protocols: new Map(handover.protocols) };
  const manager = makeManager(options, plan, parts, { former, script: handover.former.script });
  return { manager, log, finish: () => close(parts) };
}

function openLog(options: RunOptions): Log {
  const { logFormat: format, logLevel: level, logFile } = options;
  return createLog({ format, level, destination: logFile ?? 2 });
}

interface Parts {
  engine: Engine;
  log: Log;
  listeners: Listeners;
  pidFile: PidFile | null;
  /** listener's key → what is spoken there */
  protocols: Map<string, string>;
}

function close({ engine, listeners, pidFile }: Parts): void {
  listeners.close();
  engine.close();
  pidFile?.release();
}

/** `resumed`: what the manager goes on from, and the script that this process was started as. */
function makeManager(
  options: RunOptions,
  plan: GenerationPlan,
  parts: Parts,
  resumed?: { former: ManagerHandover; script: string },
): Manager {
  const { engine, log, listeners, protocols } = parts;
  const service: Service = {
    ...plan,
    reusePort: options.reusePort,
    backlog: options.backlog,
    statusFile: options.statusFile,
    reload: () => reload(options, parts),
  };
  if (engine instanceof NativeEngine) engine.onPreload = (event) => logPreload(log, event);
  const manager: Manager = new Manager({
    engine,
    log,
    service,
    listeners,
    ...(resumed && { former: resumed.former }),
    ...(engine instanceof NativeEngine && { upgrade: () => upgrade?.begin() }),
    reopenLogs: () => log.reopen(),
    observer: {
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
  });
  const upgrade =
    engine instanceof NativeEngine ? makeUpgrade(options, parts, engine, manager, resumed?.script) : null;
  return manager;
}

/** `script`: as it was named, where this process was started by another name (after a failed take-over). */
function makeUpgrade(
  options: RunOptions,
  { log, listeners, pidFile, protocols }: Parts,
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
      pidFile: pidFile && { path: pidFile.path, fd: pidFile.fd },
      guardFd,
    };
    return {
      schema: HANDOVER_SCHEMA,
      former: program,
      fds: descriptorsOf(kept),
      atMs: nowMs(),
      options,
      manager: manager.handOver(),
      protocols: [...protocols],
      hook: HOOK,
      ...kept,
    };
  };
  return new Upgrade({ binding, log, manager, program, collect });
}

function announce({ engine, log, listeners, protocols }: Parts, state: State): void {
  const addresses = listeners
    .all()
    .map((listener) =>
      displayAddress({ ...listener, port: listener.boundPort }, protocols.get(listener.key) ?? 'tcp'),
    );
  const pids = state.workers.filter((w) => w.phase === 'ready').map((w) => w.pid);
  const where = addresses.length > 0 ? `serving ${addresses.join(', ')}` : 'running';
  log.info(
    { event: 'serving', addresses, pids, engine: engine.name, pid: process.pid },
    `${where} with ${pids.length} workers (${engine.name} engine, manager ${process.pid}, workers ${pids.join(' ')})`,
  );
}

async function reload(former: RunOptions, { engine, listeners, log }: Parts): Promise<GenerationPlan> {
  const options = await loadRunOptions(former.invocation);
  if (options instanceof PreforkError) throw options;
  await openBinds(engine, listeners, options.bind);
  return planOf(options, log);
}

function createEngine(options: RunOptions): Engine {
  if (options.engine === 'js') return new JsEngine();
  const { binding, reason } = loadBinding();
  if (binding === null)
    throw preforkError('ERR_PREFORK_ADDON_MISSING', { reason: reason ?? 'unknown', advice: '' });
  return new NativeEngine(binding);
}

/** Opens what --bind names. @throws PreforkError ERR_PREFORK_LISTEN */
async function openBinds(engine: Engine, listeners: Listeners, bind: readonly Address[]): Promise<void> {
  for (const address of bind) {
    if (address.kind === 'fd' || address.kind === 'systemd') {
      adoptInherited(engine, listeners, address);
      continue;
    }
    const at = await resolveAddress(address).catch((cause: NodeJS.ErrnoException) => {
      const name = address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
      throw preforkError(
        'ERR_PREFORK_LISTEN',
        { address: name, code: cause.code ?? 'ENOTFOUND', advice: '' },
        cause,
      );
    });
    const result = await listeners.open(at, { fromBind: true });
    if ('code' in result) {
      const { code } = result;
      throw preforkError('ERR_PREFORK_LISTEN', {
        address: formatSocketAddress(at),
        code,
        advice: advice(code),
      });
    }
  }
}

function adoptInherited(
  engine: Engine,
  listeners: Listeners,
  address: Extract<Address, { kind: 'fd' | 'systemd' }>,
): void {
  const first = 3;
  const fds =
    address.kind === 'fd'
      ? [address.fd]
      : Array.from({ length: Number(process.env.LISTEN_FDS ?? 0) }, (_, index) => first + index);
  for (const fd of fds) {
    const name = loadBinding().binding?.sockname(fd);
    const result = engine instanceof NativeEngine ? engine.adoptListener(fd) : null;
    if (result === null || 'code' in result || typeof name !== 'object') {
      const code = result !== null && 'code' in result ? result.code : 'EBADF';
      throw preforkError('ERR_PREFORK_LISTEN', {
        address: `fd:${fd}`,
        code,
        advice: 'it is no listening socket',
      });
    }
    const kind = name.family === 'unix' ? 'unix' : name.type === 'dgram' ? 'udp' : 'tcp';
    listeners.adopt({ kind, address: name.address, port: name.port }, result.listener, true);
  }
}

function advice(code: string): string {
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another process listens there; `ss -ltnp` shows which',
    EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE',
    EADDRNOTAVAIL: 'this machine does not have that address',
    ENOTSOCK: 'a file that is no socket is in the way',
    EEXIST: 'a file that is no socket is in the way',
  };
  return hints[code] ?? errnoText(code);
}

async function planOf(options: RunOptions, _log: Log): Promise<GenerationPlan> {
  const requiredKeys: string[] = [];
  for (const address of options.bind) {
    if (address.kind === 'fd' || address.kind === 'systemd') continue;
    requiredKeys.push(formatSocketAddress(await resolveAddress(address)));
  }
  return { policy: policyOf(options, requiredKeys), launch: launchOf(options), bind: options.bind };
}

function policyOf(options: RunOptions, requiredKeys: readonly string[]): Policy {
  return {
    ...defaultPolicy,
    workers: options.workers,
    ready: options.ready,
    startIntervalMs: options.intervalMs,
    readyTimeoutMs: options.readyTimeoutMs,
    gracefulTimeoutMs: options.gracefulTimeoutMs,
    rollout: options.rollout,
    rolloutBatch: options.rolloutBatch,
    rolloutReady: options.rolloutReady,
    spawnBurst: Math.max(defaultPolicy.spawnBurst, options.workers * 8),
    spawnPerSecond: Math.max(defaultPolicy.spawnPerSecond, options.workers),
    maxRequests: options.maxRequests,
    maxRequestsJitter: options.maxRequestsJitter,
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
  const { entry, args, nodeArgs, cwd, credentials, umask, envDir } = options;
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'NOTIFY_SOCKET']) delete env[name];
  if (envDir !== null) Object.assign(env, readEnvDir(envDir));
  return {
    file: process.execPath,
    args: [process.execPath, ...nodeArgs, '--require', HOOK, entry, ...args],
    cwd,
    env,
    hook: { ready: options.ready, backlog: options.backlog, lingerMs: options.keepaliveLingerMs },
    preload: preloadOf(options),
    credentials,
    umask,
    stdio: [-1, 1, 2],
    setsid: true,
    dieWithManager: options.onManagerDeath === 'stop',
  };
}

function preloadOf(options: RunOptions): Launch['preload'] {
  if (!options.preload) return null;
  const boot = {
    // A program that says itself when it is ready may have no socket to stop at.
    until: options.ready === 'listen' ? ('listen' as const) : ('idle' as const),
    safety: options.forkSafety,
    warmup: options.warmup,
    busyAfterMs: BUSY_AFTER_MS,
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
