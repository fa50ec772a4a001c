/** `prefork run`: from checked options to a running manager and its exit code. */
import { join } from 'node:path';
import { type Policy, type SignalAction, type SignalTable, signalPresets } from '../core/policy';
import { loadBinding } from '../engine/binding';
import type { Engine, Signal } from '../engine/engine';
import { errnoText } from '../engine/errno';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { PreforkError, preforkError } from '../errors';
import type { Address } from '../options/address';
import { loadRunOptions, type RunOptions } from '../options/load';
import { displayAddress, formatSocketAddress, resolveAddress } from './addresses';
import { readEnvDir } from './env-dir';
import type { Launch } from './launch';
import { Listeners } from './listeners';
import { createLog, type Log } from './log';
import { Manager } from './manager';
import { PidFile } from './pid-file';
import { defaultPolicy } from '../core/policy';
import type { GenerationPlan, Service } from './service';

const HOOK = join(__dirname, '..', 'worker', 'hook.js');

/** Runs the service of `options` in this process until it has stopped. Resolves to the exit code. */
export async function runManager(options: RunOptions): Promise<number> {
  const log = createLog({
    format: options.logFormat,
    level: options.logLevel,
    destination: options.logFile ?? 2,
  });
  let pidFile: PidFile | null = null;
  const engine = createEngine(options);
  const listeners = new Listeners(engine, options);
  try {
    if (options.pidFile !== null) pidFile = PidFile.claim(options.pidFile);
    const plan = await planOf(options, log);
    await openBinds(engine, listeners, options.bind);
    pidFile?.write(process.pid);
    if (options.engineReason !== null) log.warn({}, `using the js engine: ${options.engineReason}`);
    return await serve(options, plan, { engine, log, listeners });
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

async function serve(
  options: RunOptions,
  plan: GenerationPlan,
  parts: { engine: Engine; log: Log; listeners: Listeners },
): Promise<number> {
  const { engine, log, listeners } = parts;
  const service: Service = {
    ...plan,
    reusePort: options.reusePort,
    backlog: options.backlog,
    statusFile: options.statusFile,
    reload: () => reload(options, parts),
  };
  const protocols = new Map<string, string>();
  const manager: Manager = new Manager({
    engine,
    log,
    service,
    listeners,
    reopenLogs: () => log.reopen(),
    observer: {
      engineEvent(event) {
        if (event.type !== 'message') return;
        const message = event.message as { type?: unknown; key?: unknown; protocol?: unknown };
        if (message?.type === 'listening') protocols.set(String(message.key), String(message.protocol));
      },
      command(command, state) {
        if (command.type !== 'started') return;
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
      },
    },
  });
  return manager.run();
}

async function reload(
  former: RunOptions,
  { engine, listeners, log }: { engine: Engine; listeners: Listeners; log: Log },
): Promise<GenerationPlan> {
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
    credentials,
    umask,
    stdio: [-1, 1, 2],
    setsid: true,
    dieWithManager: options.onManagerDeath === 'stop',
  };
}
