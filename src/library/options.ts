/** Options of `new Prefork()`: their table, and how they are checked. */
import { preforkError } from '../errors';
import { choice, duration, type Kind, whole } from '../options/kinds';
import { nearest } from '../options/nearest';
import { quote } from '../options/result';
import { MAX_WORKERS } from '../options/schema';
import { parseSignal, parseTrappable } from '../options/signal-name';
import { checkValue } from '../options/sources';
import { parseDuration } from '../options/duration';
import type { PoolOptions, TrapAction } from './prefork';

/** Names of the hooks, which are functions. */
const HOOKS = ['beforeFork', 'afterFork', 'onChildReap', 'onWarning'] as const;

export const poolOptionTable = {
  maxWorkers: { kind: whole(0, MAX_WORKERS), default: 10 },
  minSpareWorkers: { kind: whole(1, MAX_WORKERS), default: undefined },
  maxSpareWorkers: { kind: whole(1, MAX_WORKERS), default: undefined },
  heartbeatInterval: { kind: duration(1), default: '250ms' },
  heartbeatTimeout: { kind: duration(), default: 0 },
  spawnInterval: { kind: duration(), default: 0 },
  errRespawnInterval: { kind: duration(), default: '1s' },
  hookTimeout: { kind: duration(), default: '10s' },
  engine: { kind: choice('native', 'js'), default: undefined },
  startMethod: { kind: choice('fork', 'script'), default: undefined },
  forkSafety: { kind: choice('refuse', 'warn'), default: 'refuse' },
  onManagerDeath: { kind: choice('stop', 'keep'), default: 'stop' },
} as const;

/** What a signal to the manager sends to the workers; null: nothing, `start()` returns all the same. */
export interface Action {
  readonly signal: NodeJS.Signals;
  /** 0: to all at once */
  readonly intervalMs: number;
}

export interface PoolSettings {
  maxWorkers: number;
  /** null: as many workers as `maxWorkers`, whether they are busy or not */
  readonly spare: { readonly min: number; readonly max: number } | null;
  readonly heartbeatIntervalMs: number;
  /** 0: none */
  readonly heartbeatTimeoutMs: number;
  readonly spawnIntervalMs: number;
  readonly errRespawnIntervalMs: number;
  readonly hookTimeoutMs: number;
  readonly engine: 'native' | 'js' | null;
  readonly startMethod: 'fork' | 'script' | null;
  readonly forkSafety: 'refuse' | 'warn';
  readonly onManagerDeath: 'stop' | 'keep';
  readonly traps: ReadonlyMap<NodeJS.Signals, Action | null>;
  readonly hooks: Pick<PoolOptions, (typeof HOOKS)[number]>;
}

type Name = keyof typeof poolOptionTable;

const where = (name: string): string => `${name} of new Prefork()`;

/** Throws `ERR_PREFORK_OPTION_VALUE`, `ERR_PREFORK_OPTION_UNKNOWN` or `ERR_PREFORK_OPTION_CONFLICT`. */
export function checkPoolOptions(options: PoolOptions): PoolSettings {
  refuseUnknown(options);
  const value = <In, Out>(name: Name, kind: Kind<In, Out, string>): Out | null => {
    const given = options[name] ?? poolOptionTable[name].default;
    return given === undefined ? null : checkValue(kind, given, where(name));
  };
  const of = poolOptionTable;
  const maxWorkers = value('maxWorkers', of.maxWorkers.kind)!;
  const min = value('minSpareWorkers', of.minSpareWorkers.kind);
  const max = value('maxSpareWorkers', of.maxSpareWorkers.kind);
  return {
    maxWorkers,
    spare: checkSpare(min, max, maxWorkers),
    heartbeatIntervalMs: value('heartbeatInterval', of.heartbeatInterval.kind)!,
    heartbeatTimeoutMs: value('heartbeatTimeout', of.heartbeatTimeout.kind)!,
    spawnIntervalMs: value('spawnInterval', of.spawnInterval.kind)!,
    errRespawnIntervalMs: value('errRespawnInterval', of.errRespawnInterval.kind)!,
    hookTimeoutMs: value('hookTimeout', of.hookTimeout.kind)!,
    engine: value('engine', of.engine.kind),
    startMethod: value('startMethod', of.startMethod.kind),
    forkSafety: value('forkSafety', of.forkSafety.kind)!,
    onManagerDeath: value('onManagerDeath', of.onManagerDeath.kind)!,
    traps: checkTraps(options.trapSignals === undefined ? { TERM: 'TERM' } : (options.trapSignals ?? {})),
    hooks: checkHooks(options),
  };
}

export function checkMaxWorkers(value: unknown): number {
  return checkValue(poolOptionTable.maxWorkers.kind, value, where('maxWorkers'));
}

/** Throws `ERR_PREFORK_OPTION_VALUE`. */
export function checkSignal(value: unknown, name: string): NodeJS.Signals {
  const signal = typeof value === 'string' ? parseSignal(value) : null;
  if (signal?.ok) return signal.value;
  throw wrong(name, value, signal?.reason ?? 'is no text', 'the name of a signal such as TERM');
}

function refuseUnknown(options: PoolOptions): void {
  const known = [...Object.keys(poolOptionTable), ...HOOKS, 'trapSignals'];
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    throw preforkError('ERR_PREFORK_OPTION_UNKNOWN', {
      name: quote(name),
      file: 'new Prefork()',
      nearest: near,
    });
  }
}

function checkSpare(min: number | null, max: number | null, maxWorkers: number): PoolSettings['spare'] {
  const conflict = (problem: string): Error => preforkError('ERR_PREFORK_OPTION_CONFLICT', { problem });
  if (min === null) {
    if (max === null) return null;
    throw conflict(`${where('maxSpareWorkers')} has no effect without minSpareWorkers`);
  }
  const spare = { min, max: max ?? Math.max(maxWorkers, min) };
  if (spare.max < spare.min)
    throw conflict(`${where('maxSpareWorkers')} is ${max}, below minSpareWorkers ${min}`);
  return spare;
}

function checkTraps(traps: Readonly<Record<string, TrapAction>>): PoolSettings['traps'] {
  const checked = Object.entries(traps).map(([name, action]) => {
    const trapped = parseTrappable(name);
    if (trapped.ok) return [trapped.value, checkAction(name, action)] as const;
    throw wrong(where('trapSignals'), name, trapped.reason, 'names of signals such as TERM');
  });
  return new Map(checked);
}

function checkAction(name: string, action: TrapAction): Action | null {
  if (action === null) return null;
  const [signal, interval = 0] = typeof action === 'string' ? [action] : Array.isArray(action) ? action : [];
  const at = `trapSignals.${name} of new Prefork()`;
  // A number is of milliseconds here, as its name says: what is a number of seconds elsewhere is an option of its own.
  const parsed = typeof interval === 'number' ? parseDuration(`${interval}ms`) : parseDuration(interval);
  if (!parsed.ok) throw wrong(at, interval, parsed.reason, "milliseconds, or a duration such as '2s'");
  return { signal: checkSignal(signal, at), intervalMs: parsed.value };
}

function checkHooks(options: PoolOptions): PoolSettings['hooks'] {
  const hooks: Record<string, unknown> = {};
  for (const name of HOOKS) {
    const hook = options[name];
    if (hook === undefined) continue;
    if (typeof hook !== 'function') throw wrong(where(name), hook, 'is no function', 'a function');
    hooks[name] = hook;
  }
  return hooks;
}

function wrong(at: string, found: unknown, problem: string, expected: string): Error {
  return preforkError('ERR_PREFORK_OPTION_VALUE', { where: at, found: quote(found), problem, expected });
}
