/**
 * The loop behind {@link Prefork}: wait for an exit, a signal or a time, and start or end a worker. It is the user's loop that calls
 * it, and so it is not the core's; processes are started, told and reaped by the engine all the same.
 */
import { type Binding, loadBinding } from '../engine/binding';
import { nowMs } from '../engine/clock';
import type { Engine, EngineEvent, WorkerHandle } from '../engine/engine';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { describe, preforkError } from '../errors';
import { addonAdvice } from '../options/addon-advice';
import { SignalQueue } from '../manager/signal-queue';
import { Board, type Row, type RowState, rowStates } from './board';
import { runHook } from './hooks';
import { type Action, checkMaxWorkers, checkPoolOptions, checkSignal, type PoolSettings } from './options';
import type { PoolOptions, Prefork } from './prefork';
import {
  nextInstance,
  readBoot,
  Reporter,
  type ScriptBoot,
  type ScriptMessage,
  workerVariables,
} from './script';
import { Starter } from './starter';
import { WorkerSide } from './worker-side';

/** setTimeout's longest. */
const MAX_WAIT_MS = 2_147_483_647;
/** Signals that do not end a process that does nothing about them, signal(7). */
const HARMLESS: ReadonlySet<NodeJS.Signals> = new Set([
  'SIGCHLD',
  'SIGCONT',
  'SIGURG',
  'SIGWINCH',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
]);
const STOPS: ReadonlySet<NodeJS.Signals> = new Set(['SIGTERM', 'SIGINT', 'SIGQUIT']);

interface Member {
  readonly handle: WorkerHandle;
  readonly generation: number;
  readonly row: Row;
  /** told to end */
  leaving: boolean;
}

/** One worker's signal now, the next one's an interval later. */
interface Stagger {
  readonly action: Action;
  readonly workerIds: number[];
  nextAtMs: number;
}

type Spawned = 'manager' | 'worker';

export class Pool {
  readonly #pm: Prefork;
  readonly #settings: PoolSettings;
  readonly #binding: Binding | null;
  readonly #board: Board;
  readonly #starter: Starter;
  readonly #instance: number;
  readonly #members = new Map<number, Member>();
  /** whose start is under way */
  readonly #pending = new Map<number, Row>();
  #boot: ScriptBoot | null;
  #worker: WorkerSide | null = null;
  #engine: Engine | null = null;
  #signals: SignalQueue | null = null;
  /** come, and not taken by a start() */
  #queued: NodeJS.Signals[] = [];
  #received = '';
  #generation = 0;
  #managerPid: number | null = null;
  #nextWorkerId = 1;
  /** no worker is started or ended before */
  #restUntilMs = 0;
  #stagger: Stagger | null = null;
  #waits = false;

  constructor(pm: Prefork, options: PoolOptions) {
    this.#pm = pm;
    this.#settings = checkPoolOptions(options);
    this.#binding = chooseBinding(this.#settings);
    this.#board = new Board(this.#binding);
    this.#starter = new Starter(this.#settings, this.#binding, (message) => this.#warn(message));
    const { instance, boot } = nextInstance();
    this.#instance = instance;
    this.#boot = boot;
    if (readBoot() !== null) return;
    this.#trap();
  }

  get signalReceived(): string {
    return this.#received;
  }

  get generation(): number {
    return this.#generation;
  }

  get managerPid(): number | null {
    return this.#managerPid;
  }

  get isWorker(): boolean {
    return this.#worker !== null || this.#boot !== null;
  }

  get numWorkers(): number {
    return this.#members.size + this.#pending.size;
  }

  get numBusyWorkers(): number {
    return [...this.#members.values()].filter(({ row }) => row.state === 'busy').length;
  }

  get maxWorkers(): number {
    return this.#settings.maxWorkers;
  }

  set maxWorkers(count: number) {
    this.#settings.maxWorkers = checkMaxWorkers(count);
    this.#engine?.wake();
  }

  async start(callback?: () => unknown): Promise<boolean> {
    if (this.#worker !== null) throw state('start() was called in a worker');
    if (readBoot() !== null) this.#becomeScriptWorker();
    else if ((await this.#manage()) === 'manager') return true;
    if (callback !== undefined) await runToTheEnd(callback);
    return false;
  }

  finish(exitCode: number): never {
    this.#mustBeWorker('finish()');
    process.exit(exitCode);
  }

  tick(finished: boolean): boolean {
    return this.#mustBeWorker('tick()').tick(finished);
  }

  setState(to: RowState): void {
    this.#mustBeWorker('setBusy() or setIdle()').setState(to);
  }

  #mustBeWorker(call: string): WorkerSide {
    if (this.#worker === null) throw state(`${call} is for workers, and was called in the manager`);
    return this.#worker;
  }

  signalAllChildren(name: string): void {
    const signal = checkSignal(name, 'signal of signalAllChildren()');
    const byPid = [...this.#members.values()].sort((a, b) => a.handle.pid - b.handle.pid);
    for (const member of byPid) this.#signal(member, signal);
  }

  async waitAllChildren(timeoutMs?: number): Promise<number> {
    if (timeoutMs !== undefined && !(timeoutMs >= 0))
      throw new RangeError(`timeoutMs must be a number ≥ 0, not ${timeoutMs}`);
    return this.#exclusively('waitAllChildren()', async () => {
      this.#restUntilMs = 0;
      const untilMs = nowMs() + (timeoutMs ?? Number.POSITIVE_INFINITY);
      for (let turns = 0; this.numWorkers > 0; turns++) {
        // At least once: what has ended by now is counted out.
        if (turns > 0 && nowMs() >= untilMs) break;
        await this.#turn(Math.min(untilMs, this.#staggerAtMs));
        this.#received = this.#takeSignal() ?? this.#received;
      }
      if (this.numWorkers === 0) this.#letGo();
      return this.numWorkers;
    });
  }

  async #exclusively<T>(call: string, body: () => Promise<T>): Promise<T> {
    if (this.#worker !== null || readBoot() !== null) throw state(`${call} was called in a worker`);
    if (this.#waits) throw state(`${call} was called while another call waits`);
    this.#waits = true;
    try {
      return await body();
    } finally {
      this.#waits = false;
    }
  }

  // --- the loop ------------------------------------------------------------------------------------------------

  #manage(): Promise<Spawned> {
    return this.#exclusively('start()', async () => {
      this.#managerPid = process.pid;
      this.#generation++;
      this.#received = '';
      this.#trap();
      for (;;) {
        const signal = this.#takeSignal();
        if (signal !== null) return this.#answer(signal);
        const action = this.#restUntilMs <= nowMs() ? this.#decide() : 0;
        if (action > 0 && (await this.#spawn()) === 'worker') return 'worker';
        if (action < 0) this.#endOne();
        await this.#turn(action > 0 ? 0 : this.#nextAtMs());
      }
    });
  }

  #takeSignal(): string | null {
    for (const event of this.#signals?.take() ?? []) {
      if (event.type === 'signal') this.#queued.push(event.signal);
    }
    const signal = this.#queued.shift();
    return signal === undefined ? null : signal.slice('SIG'.length);
  }

  #answer(name: string): 'manager' {
    this.#received = name;
    const action = this.#settings.traps.get(`SIG${name}` as NodeJS.Signals) ?? null;
    if (action !== null && action.intervalMs > 0) {
      const workerIds = [...this.#members.keys()];
      this.#stagger = { action, workerIds, nextAtMs: nowMs() };
      this.#signalNext();
    } else if (action !== null) {
      this.signalAllChildren(action.signal);
    }
    return 'manager';
  }

  /** 1: one worker more; −1: one fewer; 0: as it is. */
  #decide(): number {
    const { maxWorkers, spare } = this.#settings;
    const mayGrow = this.numWorkers < maxWorkers;
    if (spare === null) return mayGrow ? 1 : 0;
    const free = this.#members.size - this.numBusyWorkers - this.#leavingIdle().length + this.#pending.size;
    if (free < spare.min && mayGrow) return 1;
    return free > spare.max ? -1 : 0;
  }

  #leavingIdle(): Member[] {
    return [...this.#members.values()].filter(({ leaving, row }) => leaving && row.state !== 'busy');
  }

  /** Of those without work the one that came last. */
  #endOne(): void {
    const idle = [...this.#members.values()].filter(({ leaving, row }) => !leaving && row.state !== 'busy');
    const last = idle.at(-1);
    if (last !== undefined) this.#signal(last, this.#settings.traps.get('SIGTERM')?.signal ?? 'SIGTERM');
    this.#rest(this.#settings.spawnIntervalMs);
  }

  #nextAtMs(): number {
    const { spare, heartbeatTimeoutMs, heartbeatIntervalMs } = this.#settings;
    const watches = spare !== null || heartbeatTimeoutMs > 0;
    return Math.min(
      this.#staggerAtMs,
      this.#decide() !== 0 ? this.#restUntilMs : Number.POSITIVE_INFINITY,
      watches ? nowMs() + heartbeatIntervalMs : Number.POSITIVE_INFINITY,
    );
  }

  get #staggerAtMs(): number {
    return this.#stagger?.nextAtMs ?? Number.POSITIVE_INFINITY;
  }

  /** Waits once, and sees to all that happened meanwhile. */
  async #turn(untilMs: number): Promise<void> {
    if (this.#staggerAtMs <= nowMs()) this.#signalNext();
    const events = await this.#useEngine().wait(Math.min(untilMs, nowMs() + MAX_WAIT_MS));
    for (const event of events) await this.#onEvent(event);
    this.#killSilent();
  }

  /** Of those that are left of the round, the first that still lives. */
  #signalNext(): void {
    const round = this.#stagger;
    if (round === null) return;
    for (let id = round.workerIds.shift(); id !== undefined; id = round.workerIds.shift()) {
      const member = this.#members.get(id);
      if (member === undefined) continue;
      this.#signal(member, round.action.signal);
      round.nextAtMs = nowMs() + round.action.intervalMs;
      if (round.workerIds.length > 0) return;
    }
    this.#stagger = null;
  }

  #rest(ms: number): void {
    this.#restUntilMs = ms > 0 ? nowMs() + ms : 0;
  }

  #signal(member: Member, signal: NodeJS.Signals): void {
    const ends = !HARMLESS.has(signal);
    // Before the signal: one that it meets before it can listen looks here when it can.
    if (STOPS.has(signal) || (ends && member.row.state === 'starting')) member.row.told = true;
    if (STOPS.has(signal) || signal === 'SIGKILL') member.leaving = true;
    this.#engine?.signal(member.handle, signal);
  }

  /** Those that ticked once and do so no more. */
  #killSilent(): void {
    const { heartbeatTimeoutMs } = this.#settings;
    if (heartbeatTimeoutMs === 0) return;
    for (const member of this.#members.values()) {
      const { heartbeatMs } = member.row;
      if (heartbeatMs === 0 || nowMs() - heartbeatMs < heartbeatTimeoutMs) continue;
      member.row.heartbeatMs = 0;
      this.#warn(`worker ${member.handle.pid} has not ticked for ${heartbeatTimeoutMs} ms, and is killed`);
      this.#engine?.signal(member.handle, 'SIGKILL');
    }
  }

  async #onEvent(event: EngineEvent): Promise<void> {
    const { workerId } = event;
    switch (event.type) {
      case 'exited':
        return this.#onExited(workerId, event.pid, event.status);
      case 'message':
        return this.#onMessage(workerId, event.message as Partial<ScriptMessage> | null);
      case 'spawnFailed':
        return this.#onSpawnFailed(workerId, `${event.step} failed with ${event.code}`);
      default:
        return;
    }
  }

  async #onExited(workerId: number, pid: number, status: number): Promise<void> {
    const member = this.#members.get(workerId);
    if (member === undefined) return;
    this.#members.delete(workerId);
    this.#board.release(member.row);
    const failed = member.generation === this.#generation && status !== 0 && !member.leaving;
    if (failed) this.#rest(this.#settings.errRespawnIntervalMs);
    await this.#hook('onChildReap', (hook) => hook(this.#pm, pid, status));
  }

  #onMessage(workerId: number, message: Partial<ScriptMessage> | null): void {
    const row = this.#members.get(workerId)?.row;
    const said = message?.prefork;
    if (row === undefined || said === undefined) return;
    if (said === 'tick') row.heartbeatMs = nowMs();
    else if (rowStates.includes(said)) row.state = said;
  }

  #onSpawnFailed(workerId: number, problem: string): void {
    const row = this.#pending.get(workerId);
    if (row !== undefined) this.#board.release(row);
    this.#pending.delete(workerId);
    this.#warn(`cannot start a worker: ${problem}`);
    this.#rest(this.#settings.errRespawnIntervalMs);
  }

  // --- starting a worker ---------------------------------------------------------------------------------------

  async #spawn(): Promise<Spawned> {
    await this.#hook('beforeFork', (hook) => hook(this.#pm));
    const workerId = this.#nextWorkerId++;
    const row = this.#board.claim();
    const boot = { instance: this.#instance, managerPid: process.pid, generation: this.#generation };
    const outcome = await this.#starter.start(workerId, boot, this.#useEngine());
    switch (outcome.type) {
      case 'forked':
        await this.#becomeForked(workerId, row);
        return 'worker';
      case 'pending':
        this.#pending.set(workerId, row);
        return 'manager';
      case 'failed':
        this.#pending.set(workerId, row);
        this.#onSpawnFailed(workerId, outcome.problem);
        return 'manager';
      case 'started':
        this.#join(outcome.handle, row);
    }
    this.#rest(this.#settings.spawnIntervalMs);
    await this.#hook('afterFork', (hook) => hook(this.#pm, outcome.handle.pid));
    return 'manager';
  }

  #join(handle: WorkerHandle, row: Row): void {
    this.#pending.delete(handle.workerId);
    this.#members.set(handle.workerId, { handle, generation: this.#generation, row, leaving: false });
  }

  async #becomeForked(workerId: number, row: Row): Promise<void> {
    forgetPosix();
    this.#forgetManager();
    Object.assign(process.env, workerVariables(workerId, this.#generation));
    // Two turns of the loop: what had come to the manager just before, or to this process since, has come now.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    const signalled = (this.#signals?.take().length ?? 0) > 0;
    this.#untrap();
    // From here on a signal has its default effect; one that came before is written down.
    if (signalled || row.told) process.exit(0);
    this.#worker = new WorkerSide(row, null);
  }

  #forgetManager(): void {
    this.#engine?.close();
    this.#engine = null;
    this.#members.clear();
    this.#queued = [];
    this.#stagger = null;
  }

  #becomeScriptWorker(): void {
    const boot = this.#boot;
    if (boot === null) {
      const problem = `this process is a worker of the Prefork number ${readBoot()?.instance} of its script, not of number ${this.#instance}`;
      throw state(problem);
    }
    this.#generation = boot.generation;
    this.#managerPid = boot.managerPid;
    const reporter = Reporter.open(this.#settings.onManagerDeath === 'keep');
    this.#worker = new WorkerSide(null, reporter);
  }

  // --- what is around the loop -----------------------------------------------------------------------------------

  #useEngine(): Engine {
    this.#engine ??= this.#binding === null ? new JsEngine() : new NativeEngine(this.#binding);
    return this.#engine;
  }

  #trap(): void {
    if (this.#signals !== null) return;
    this.#signals = new SignalQueue(() => this.#engine?.wake());
    const signals = [...this.#settings.traps.keys()];
    this.#signals.trap(Object.fromEntries(signals.map((signal) => [signal, { do: 'ignore' }])));
  }

  #untrap(): void {
    this.#signals?.close();
    this.#signals = null;
  }

  /** With the last worker gone nothing keeps this process. */
  #letGo(): void {
    this.#untrap();
    this.#engine?.close();
    this.#engine = null;
    this.#stagger = null;
  }

  async #hook<N extends 'beforeFork' | 'afterFork' | 'onChildReap'>(
    name: N,
    call: (hook: NonNullable<PoolOptions[N]>) => unknown,
  ): Promise<void> {
    const hook = this.#settings.hooks[name];
    if (hook === undefined) return;
    const { hookTimeoutMs: timeoutMs } = this.#settings;
    await runHook(name, () => call(hook), { timeoutMs, report: (problem) => this.#warn(problem) });
  }

  #warn(message: string): void {
    const { onWarning } = this.#settings.hooks;
    if (onWarning === undefined) return process.emitWarning(message, 'PreforkWarning');
    try {
      onWarning(message);
    } catch (error) {
      process.emitWarning(`${message}; onWarning failed: ${describe(error)}`, 'PreforkWarning');
    }
  }
}

function chooseBinding({ engine }: PoolSettings): Binding | null {
  if (engine === 'js') return null;
  const { binding, reason } = loadBinding();
  if (binding === null && engine === 'native') {
    const advice = addonAdvice(process.env);
    throw preforkError('ERR_PREFORK_ADDON_MISSING', { reason: reason ?? 'unknown', advice });
  }
  return binding;
}

/** The callback's failure must not reach the code behind start(): that is the manager's. */
async function runToTheEnd(callback: () => unknown): Promise<never> {
  try {
    await callback();
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
  process.exit(0);
}

function forgetPosix(): void {
  const { forgetWatches } = require('../posix/watch') as typeof import('../posix/watch');
  const { forgetChildren } = require('../posix/child') as typeof import('../posix/child');
  forgetWatches();
  forgetChildren();
}

const state = (problem: string): Error => preforkError('ERR_PREFORK_STATE', { problem });
