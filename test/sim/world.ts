/**
 * A seeded world around the real core: the manager's loop as `src/manager` runs it, over the virtual engine, with a
 * schedule of faults. Every step is checked; what goes wrong is thrown as a Violation.
 */
import type { Command } from '../../src/core/command';
import type { ControlRequest, Event } from '../../src/core/event';
import { violations } from '../../src/core/invariants';
import type { Policy } from '../../src/core/policy';
import { isHung, type State, type WorkerState } from '../../src/core/state';
import type { StepResult } from '../../src/core/step';
import type { EngineEvent, Signal, SpawnSpec, WorkerHandle } from '../../src/engine/engine';
import type { WorkerMessage } from '../../src/worker/protocol';
import { Agenda } from './agenda';
import { Answers } from './answers';
import { failure, SIM_FILE, SimEngine, type SpawnError } from './engine';
import { type Fault, Tally } from './faults';
import type { Process, Program } from './kernel';
import { Ledger, Violation } from './ledger';
import { changePolicy, convergenceBoundMs, drawPolicy } from './policies';
import {
  deaf,
  drawDeploymentFault,
  drawFault,
  faultyProgram,
  healthyProgram,
  isDeaf,
  type ProgramFault,
} from './programs';
import { Random } from './random';
import { Size } from './size';
import { Timing } from './timing';

/** The functions under test; a mutated core takes their place. */
export interface Core {
  initialState(policy: Policy, nowMs: number, seed: number): State;
  step(state: State, event: Event, nowMs: number): StepResult;
}

export interface WorldOptions {
  core: Core;
  seed: number;
  /** events put before the core in the first phase, ticks not counted */
  events: number;
  /** every state goes through JSON before the next step, frozen */
  roundTrip: boolean;
  trace: ((line: string) => void) | null;
}

/** More steps at one instant than any storm explains. */
const MAX_STEPS_AT_ONCE = 400;
/** Pids of the virtual machine, fewer than a run spawns. */
const PIDS = 24;
const TRANSIENT = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);

/** How much goes wrong, in shares; all 0 in the calm. */
interface Weather {
  badSpawn: number;
  badProgram: number;
  badDeployment: number;
  badConfig: number;
  late: number;
  disorder: number;
  busy: number;
}

const CALM: Weather = {
  badSpawn: 0,
  badProgram: 0,
  badDeployment: 0,
  badConfig: 0,
  late: 0,
  disorder: 0,
  busy: 0,
};

export class World {
  readonly tally = new Tally();
  readonly agenda: Agenda;
  /** events put before the core, ticks not counted */
  events = 0;
  steps = 0;
  lives = 0;
  ended = false;
  state!: State;
  readonly #options: WorldOptions;
  readonly #random: Random;
  #weather: Weather;
  #engine!: SimEngine;
  #ledger!: Ledger;
  #timing!: Timing;
  #size!: Size;
  #answers!: Answers;
  #inbox: Event[] = [];
  /** signals to the manager that it has not looked at; a second of a kind is lost, as in the kernel */
  #signals: Extract<Event, { type: 'signal' }>[] = [];
  readonly #handles = new Map<number, WorkerHandle>();
  readonly #policies = new Map<number, Policy>();
  readonly #deployments = new Map<number, ProgramFault>();
  readonly #usedPids = new Set<number>();
  #said: Event[] = [];
  #gone: Event[] = [];
  /** some policy of this life never kills: the deaf would stay for ever */
  #patient = false;
  #outageUntilMs = 0;
  #outageCode: 'EAGAIN' | 'EMFILE' = 'EAGAIN';
  #lateSpawns = false;
  /** how many workers would be busy, were there as many */
  #demand = 0;
  readonly #looksAlways: boolean;
  #stepsAtOnce = 0;
  #lastStepMs = Number.NEGATIVE_INFINITY;
  /** the stops that this schedule may ask for */
  #stopsLeft: number;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.agenda = new Agenda(
      this.#random.int(0, 1_000_000) + (this.#random.chance(0.5) ? this.#random.next() : 0),
    );
    this.#weather = drawWeather(this.#random);
    this.#looksAlways = this.#random.chance(0.05);
    this.#stopsLeft = this.#random.pick([0, 1, 1, 2, 6]);
    this.#begin();
    this.#planTrouble();
    this.#planLook();
  }

  // --- the two phases -----------------------------------------------------------------------------------------------

  /** Faults, with managers one after the other where one ends. */
  storm(): void {
    while (this.events < this.#options.events) {
      this.#turn(this.agenda.now + 60_000);
      if (this.ended) this.#begin();
    }
  }

  /** From here on nothing goes wrong, and all must come to rest in time. */
  calm(): void {
    this.#weather = CALM;
    this.#outageUntilMs = 0;
    this.#heal();
    this.#demand = this.#random.int(0, 8);
    this.#trace(() => '--- calm');
    this.#until(() => this.#settled(), 'nothing comes to rest');
    if (!this.ended) this.#checkRest();
  }

  /** The service is asked to stop, and must. */
  stop(): void {
    if (this.ended) return;
    if (this.#random.chance(0.5))
      this.#inbox.push({ type: 'control', request: { do: 'stop', graceful: true } });
    else this.#raise('SIGTERM');
    this.#until(() => this.ended, 'the stop comes to no end');
  }

  #until(done: () => boolean, otherwise: string): void {
    const limitMs = this.agenda.now + this.#boundMs();
    while (!done()) {
      if (this.agenda.now >= limitMs) throw new Violation(otherwise);
      this.#turn(limitMs);
    }
  }

  #boundMs(): number {
    const { policy, rollout, desired } = this.state;
    const policies = [policy, rollout?.policy ?? policy];
    return Math.max(...policies.map((p) => convergenceBoundMs(p, Math.max(desired, p.workers, 8))));
  }

  // --- the manager's loop -------------------------------------------------------------------------------------------

  #begin(): void {
    const { core } = this.#options;
    const random = this.#random;
    const policy = drawPolicy(random);
    this.lives++;
    this.#patient = policy.gracefulTimeoutMs === null;
    this.ended = false;
    this.#lateSpawns = random.chance(0.3);
    this.#inbox = [{ type: 'tick' }];
    this.#signals = [];
    this.#handles.clear();
    this.#policies.clear();
    this.#deployments.clear();
    this.#usedPids.clear();
    this.#said = [];
    this.#gone = [];
    this.#engine = new SimEngine({
      agenda: this.agenda,
      pids: PIDS,
      resolve: (spec) => this.#resolve(spec),
      pendingMs: () => this.#spawnDelay(),
      reapDelayMs: () => this.#delay('exit noticed late', 1500),
      messageDelayMs: () => this.#delay('message late', 800),
    });
    this.state = core.initialState(policy, this.agenda.now, random.chance(0.1) ? 0 : random.int(1, 2 ** 31));
    this.#timing = new Timing();
    this.#size = new Size(this.state);
    this.#answers = new Answers();
    this.#ledger = new Ledger(this.state, this.agenda.now);
    this.#trace(() => `--- manager ${this.lives}: ${JSON.stringify(policy)}`);
  }

  /** One turn: wait, take what is there, step through it. Ends at `limitMs` at the latest. */
  #turn(limitMs: number): void {
    const { agenda } = this;
    if (!this.#hasWork()) {
      const wakeAtMs = this.state.wakeAtMs ?? Number.POSITIVE_INFINITY;
      agenda.advance(Math.max(agenda.now, Math.min(agenda.nextAtMs, wakeAtMs, limitMs)));
      if (!this.#hasWork() && wakeAtMs > agenda.now) return;
    }
    if (this.#random.chance(this.#weather.busy)) {
      this.#count('manager busy');
      agenda.advance(agenda.now + this.#random.int(1, this.#random.pick([5, 50, 2000])));
    }
    for (const event of this.#engine.collect()) this.#onEngineEvent(event);
    if (this.#random.chance(this.#weather.disorder) && this.#inbox.length > 1) {
      this.#count('other order');
      this.#random.shuffle(this.#inbox);
    }
    this.#inbox.push(...this.#signals.splice(0));
    // Every event lets the timers run as well: a tick behind them changes nothing, as is seen now and then.
    if (this.#inbox.length === 0 || this.#random.chance(0.1)) this.#inbox.push({ type: 'tick' });
    for (let event = this.#inbox.shift(); event !== undefined; event = this.#inbox.shift()) this.#step(event);
    if (this.state.phase === 'ended') this.#checkEnd();
  }

  #hasWork(): boolean {
    return this.#inbox.length > 0 || this.#signals.length > 0 || this.#engine.hasEvents;
  }

  #step(event: Event): void {
    const nowMs = this.agenda.now;
    const before = this.#options.roundTrip
      ? frozen(JSON.parse(JSON.stringify(this.state)) as State)
      : this.state;
    this.#note(event);
    const { state: after, commands } = this.#options.core.step(before, event, nowMs);
    this.state = after;
    this.#trace(() => traceLine(nowMs, event, after, commands));
    const [found] = violations(before, event, after, commands, nowMs);
    const wrong =
      found ??
      this.#ledger.check(before, event, after, commands, nowMs) ??
      this.#timing.check(before, event, after, commands, nowMs) ??
      this.#size.check(before, event, after, commands, nowMs) ??
      this.#answers.check(event, { before, after, commands, nowMs });
    if (wrong != null) throw new Violation(wrong);
    this.#countSteps(nowMs);
    for (const command of commands) this.#execute(command);
  }

  #countSteps(nowMs: number): void {
    this.steps++;
    if (nowMs !== this.#lastStepMs) this.#stepsAtOnce = 0;
    this.#lastStepMs = nowMs;
    if (++this.#stepsAtOnce > MAX_STEPS_AT_ONCE) throw new Violation('steps without end at one instant');
  }

  /** Keeps what was said for saying it again, and counts. */
  #note(event: Event): void {
    if (event.type === 'tick' || event.type === 'load') return;
    this.events++;
    if (!('workerId' in event) || event.workerId === null) return;
    const known = this.state.workers.some((w) => w.id === event.workerId);
    if (!known && event.type !== 'listenFailed') {
      if (event.type === 'spawned') this.#count('exit before the spawn is reported');
      else if (event.type !== 'exited') this.#count('message after the reap');
      return;
    }
    const kept = event.type === 'exited' || event.type === 'spawned' || event.type === 'spawnFailed';
    const list = kept ? this.#gone : this.#said;
    list.push(event);
    if (list.length > 12) list.shift();
  }

  #execute(command: Command): void {
    switch (command.type) {
      case 'spawn':
        return this.#spawn(command);
      case 'signal':
        return this.#signal(command.workerId, command.signal);
      case 'reloadConfig':
        return this.#loadConfig(command.generation);
      case 'reexec':
        return this.#upgrade();
      default:
        return;
    }
  }

  #spawn({ workerId, slot, generation }: Extract<Command, { type: 'spawn' }>): void {
    const { rollout, policy } = this.state;
    this.#policies.set(generation, rollout?.generation === generation ? (rollout.policy ?? policy) : policy);
    const result = this.#engine.spawn(spawnSpec(workerId, slot, generation));
    if ('handle' in result) this.#onSpawned(result.handle);
    else if ('code' in result) this.#onSpawnFailed(workerId, result);
  }

  #onSpawned(handle: WorkerHandle): void {
    const { workerId, pid } = handle;
    this.#handles.set(workerId, handle);
    if (this.#usedPids.has(pid)) this.#count('pid used again');
    this.#usedPids.add(pid);
    this.#inbox.push({ type: 'spawned', workerId, pid });
  }

  #onSpawnFailed(workerId: number, failed: { code: string; step: string; reason?: string }): void {
    const { code, step, reason } = failed;
    const transient = TRANSIENT.has(code);
    this.#inbox.push({
      type: 'spawnFailed',
      workerId,
      code,
      step,
      transient,
      ...(reason !== undefined && { reason }),
    });
  }

  #signal(workerId: number, signal: Signal): void {
    const handle = this.#handles.get(workerId);
    // Reaped by the engine, its exit waiting behind this step.
    if (handle === undefined) return;
    const pid = this.state.workers.find((w) => w.id === workerId)?.pid;
    if (pid !== handle.pid) throw new Violation(`worker ${workerId} has pid ${handle.pid}, not ${pid}`);
    if (this.#engine.signal(handle, signal) === 'gone') throw new Violation('a signal to a pid that is free');
  }

  #loadConfig(generation: number): void {
    const random = this.#random;
    const life = this.lives;
    const fails = random.chance(this.#weather.badConfig);
    const policy = this.#weather === CALM ? this.state.policy : changePolicy(this.state.policy, random);
    if (fails) this.#count('configuration fails');
    else if (policy !== this.state.policy) this.#count('configuration changes');
    if (random.chance(this.#weather.badDeployment)) {
      this.#count('bad deployment');
      this.#deployments.set(generation, drawDeploymentFault(random));
    }
    this.#patient ||= policy.gracefulTimeoutMs === null;
    const answer = (): void => {
      if (life !== this.lives || this.ended) return;
      if (fails) this.#inbox.push({ type: 'configFailed', generation, reason: 'a syntax error' });
      else this.#inbox.push({ type: 'configLoaded', generation, policy });
    };
    if (random.chance(0.3)) return answer();
    const slow = random.chance(this.#weather.late);
    if (slow) this.#count('configuration takes long');
    this.agenda.after(random.int(1, slow ? 4000 : 30), answer);
  }

  /** The manager is replaced: its state is read by the new one, and everything goes on meanwhile. */
  #upgrade(): void {
    this.#count('manager upgraded');
    this.state = JSON.parse(JSON.stringify(this.state)) as State;
    this.agenda.advance(this.agenda.now + this.#random.int(50, 300));
  }

  // --- what the engine says ----------------------------------------------------------------------------------------

  #onEngineEvent(event: EngineEvent): void {
    const { workerId } = event;
    switch (event.type) {
      case 'spawned':
        return this.#onSpawned(event.handle);
      case 'spawnFailed':
        return this.#onSpawnFailed(workerId, event);
      case 'exited': {
        this.#handles.delete(workerId);
        const lastWords = event.status === 256 ? 'Error: it broke' : null;
        this.#inbox.push({ type: 'exited', workerId, status: event.status, lastWords });
        return;
      }
      case 'stopped':
      case 'continued':
        this.#inbox.push({ type: event.type, workerId });
        return;
      case 'message':
        this.#onMessage(workerId, event.message as WorkerMessage);
        return;
      case 'channelClosed':
        return;
    }
  }

  #onMessage(workerId: number, message: WorkerMessage): void {
    switch (message.type) {
      case 'listening':
      case 'unlistening':
        this.#inbox.push({ type: message.type, workerId, key: message.key });
        return;
      case 'ready':
      case 'draining':
        this.#inbox.push({ type: message.type, workerId });
        return;
      case 'retire':
        this.#inbox.push({ type: 'retire', workerId, reason: message.reason });
        return;
      default:
        throw new Error(`a virtual worker does not say ${message.type}`);
    }
  }

  // --- spawns -------------------------------------------------------------------------------------------------------

  /** What the process does, or why there is none. */
  #resolve(spec: SpawnSpec): Program | SpawnError {
    const random = this.#random;
    const generation = Number(spec.env.PREFORK_GENERATION);
    const policy = this.#policies.get(generation) ?? this.state.policy;
    const error = this.#spawnError();
    if (error !== null) return error;
    const fault = this.#programFault(generation);
    if (fault === null) return healthyProgram(policy, random);
    this.#count(fault);
    return faultyProgram(fault, policy, random);
  }

  #spawnError(): SpawnError | null {
    if (this.#engine.kernel.table.size >= PIDS) this.#count('no free pid');
    if (this.agenda.now < this.#outageUntilMs) {
      this.#count('spawn outage');
      return failure(this.#outageCode, 'clone');
    }
    if (!this.#random.chance(this.#weather.badSpawn)) return null;
    if (this.#lateSpawns && this.#random.chance(0.3)) {
      this.#count('forkserver ended');
      return { ...failure('EPIPE', 'forkserver'), reason: 'the forkserver ended with code 1' };
    }
    const [fault, code, step] = this.#random.pick([
      ['fork EAGAIN', 'EAGAIN', 'clone'],
      ['fork EMFILE', 'EMFILE', 'socketpair'],
      ['exec ENOENT', 'ENOENT', 'execve'],
      ['exec EACCES', 'EACCES', 'execve'],
    ] as const);
    this.#count(fault);
    return failure(code, step);
  }

  #programFault(generation: number): ProgramFault | null {
    if (this.#weather === CALM) return null;
    const deployment = this.#deployments.get(generation);
    if (deployment !== undefined) return deployment;
    return this.#random.chance(this.#weather.badProgram) ? drawFault(this.#random) : null;
  }

  #spawnDelay(): number | null {
    if (!this.#lateSpawns) return null;
    if (this.#weather === CALM || this.#random.chance(0.8)) return this.#random.int(0, 5);
    this.#count('spawn reported late');
    return this.#random.int(10, 1500);
  }

  #delay(fault: Fault, atMostMs: number): number {
    if (!this.#random.chance(this.#weather.late)) return 0;
    this.#count(fault);
    return this.#random.int(1, atMostMs);
  }

  // --- trouble ------------------------------------------------------------------------------------------------------

  #planTrouble(): void {
    const random = this.#random;
    const gapMs = random.chance(0.3) ? 0 : random.int(1, random.pick([10, 60, 400, 3000]));
    this.agenda.after(gapMs, () => {
      if (this.#weather === CALM) return;
      if (!this.ended) this.#trouble();
      this.#planTrouble();
    });
  }

  #trouble(): void {
    const random = this.#random;
    const dice = random.int(0, 99);
    if (dice < 25) this.#troubleWorker();
    else if (dice < 35) this.#troubleMessage();
    else if (dice < 45) this.#troubleMachine();
    else if (dice < 55) this.#signalStorm();
    else if (dice < 75) this.#request();
    else if (dice < 95) this.#ask();
    else this.#askStop();
  }

  #troubleWorker(): void {
    const random = this.#random;
    const processes = [...this.#engine.kernel.table.values()];
    if (processes.length === 0) return;
    const process = random.pick(processes);
    const send = (fault: Fault, signal: Signal): void => {
      this.#count(fault);
      this.#trace(() => `        ${signal} to worker ${process.workerId} from elsewhere`);
      this.#engine.kernel.kill(process, signal);
    };
    switch (random.int(0, 6)) {
      case 0:
        return send('KILL to a worker', 'SIGKILL');
      case 1:
        return send('TERM to a worker from elsewhere', 'SIGTERM');
      case 2:
        return send('STOP to a worker', 'SIGSTOP');
      case 3:
        return send('CONT to a worker', 'SIGCONT');
      case 4: {
        this.#count('exit storm');
        for (const each of processes) if (random.chance(0.7)) this.#engine.kernel.kill(each, 'SIGKILL');
        return;
      }
      case 5: {
        if (random.chance(0.8)) return this.#hang(process, 'hangs for a while');
        for (const each of processes) this.#hang(each, 'all hang');
        return;
      }
      default:
        return this.#hang(process, 'hangs');
    }
  }

  /** Its silence has been noticed, and unless it comes back it hears nothing any more. */
  #hang(process: Process, fault: Fault): void {
    if (process.life !== 'running') return;
    this.#count(fault);
    if (fault !== 'hangs for a while') process.program = deaf(process.program);
    this.#inbox.push({ type: 'hung', workerId: process.workerId });
  }

  // --- the load -----------------------------------------------------------------------------------------------------

  /** As the shell does once a second, and now and then out of step. */
  #planLook(): void {
    const random = this.#random;
    const apartMs = random.chance(this.#weather.busy) ? random.int(0, 1500) : 1000 + random.int(0, 5);
    this.agenda.after(apartMs, () => {
      // Without need nobody looks: events would hide timers that are missing.
      if (!this.ended && (this.state.policy.elastic !== null || this.#looksAlways)) this.#look();
      this.#planLook();
    });
  }

  #look(): void {
    if (this.#weather !== CALM && this.#random.chance(0.2)) {
      const was = this.#demand;
      this.#demand = this.#random.pick([0, 1, was + 1, Math.max(0, was - 1), 8]);
      if (this.#demand > was) this.#count('load rises');
      if (this.#demand < was) this.#count('load falls');
    }
    const ready = this.state.workers.filter((w) => w.phase === 'ready' && !isHung(w)).length;
    const busy = Math.min(this.#demand, ready);
    this.#inbox.push({ type: 'load', idle: ready - busy, busy });
  }

  /** As many idle as are to be, or as many slots as may be. */
  #fitsLoad({ policy, desired, elastic }: State): boolean {
    if (policy.elastic === null) return true;
    const free = desired - Math.min(this.#demand, desired);
    const enough = free >= policy.elastic.minSpare || desired === policy.maxWorkers;
    return enough && (free <= policy.elastic.maxSpare || desired === elastic.floor);
  }

  #troubleMessage(): void {
    const random = this.#random;
    switch (random.int(0, 2)) {
      case 0: {
        this.#count('unknown child');
        const workerId = random.pick([0, 1_000_000]);
        this.#inbox.push({ type: 'exited', workerId, status: 9, lastWords: null });
        return;
      }
      case 1: {
        const gone = this.#gone.filter((e) => 'workerId' in e && !this.#handles.has(e.workerId as number));
        const late = gone.filter((e) => 'workerId' in e && !this.#ledger.open.has(e.workerId as number));
        if (late.length === 0) return;
        this.#count('event of a worker that was reaped');
        this.#inbox.push(random.pick(late));
        return;
      }
      default:
        if (this.#said.length === 0) return;
        this.#count('duplicate message');
        this.#inbox.push(random.pick(this.#said));
    }
  }

  #troubleMachine(): void {
    const random = this.#random;
    switch (random.int(0, 2)) {
      case 0:
        this.#count('clock jump');
        this.agenda.jump(random.pick([100, 1000, 30_000, 3_600_000]));
        return;
      case 1:
        this.#outageUntilMs = this.agenda.now + random.int(10, 2000);
        this.#outageCode = random.pick(['EAGAIN', 'EMFILE'] as const);
        return;
      default: {
        this.#count('listen failed');
        const workerId = random.chance(0.5) ? null : random.int(1, 5);
        this.#inbox.push({ type: 'listenFailed', workerId, address: '127.0.0.1:80', code: 'EACCES' });
      }
    }
  }

  #signalStorm(): void {
    const random = this.#random;
    const n = random.int(2, 5);
    const [fault, signal] = random.pick([
      ['HUP storm', 'SIGHUP'],
      ['TTIN storm', 'SIGTTIN'],
      ['TTOU storm', 'SIGTTOU'],
    ] as const);
    if (signal === 'SIGTTIN' && this.state.desired + n > 8) return;
    this.#count(fault);
    for (let i = 0; i < n; i++) this.agenda.after(i * random.int(0, 20), () => this.#raise(signal));
  }

  #request(): void {
    const random = this.#random;
    const [fault, signal] = random.pick([
      ['HUP', 'SIGHUP'],
      ['HUP', 'SIGHUP'],
      ['HUP', 'SIGHUP'],
      ['USR1', 'SIGUSR1'],
      ['USR2', 'SIGUSR2'],
      ['ALRM', 'SIGALRM'],
    ] as const);
    this.#count(fault);
    this.#raise(signal);
  }

  #ask(): void {
    const random = this.#random;
    const ask = (fault: Fault, request: ControlRequest): void => {
      this.#count(fault);
      this.#inbox.push({ type: 'control', request });
    };
    switch (random.int(0, 4)) {
      case 0:
        return ask('control: reload', { do: 'reload' });
      case 1:
        return ask('control: scale', {
          do: 'scale',
          workers: random.pick([1, 2, 3, 5, 0, -1, 2.5, Number.NaN]),
        });
      case 2: {
        const workerId = random.pick([...this.state.workers.map((w) => w.id), 0]);
        return ask('control: retire', { do: 'retire', workerId, reason: 'the operator asks for it' });
      }
      case 3:
        return ask('control: reopen logs', { do: 'reopenLogs' });
      default:
        return ask('control: upgrade', { do: 'upgrade' });
    }
  }

  #askStop(): void {
    const random = this.#random;
    if (this.state.phase === 'running' && this.#stopsLeft-- <= 0) return;
    switch (random.int(0, 5)) {
      case 0:
        this.#count('TERM');
        return this.#raise('SIGTERM');
      case 1:
        this.#count('INT');
        return this.#raise('SIGINT');
      case 2:
        this.#count('QUIT');
        return this.#raise('SIGQUIT');
      case 3:
        this.#count('HUP, terminal gone');
        return this.#raise('SIGHUP', true);
      default: {
        const graceful = random.chance(0.7);
        this.#count(graceful ? 'control: stop' : 'control: stop now');
        this.#inbox.push({ type: 'control', request: { do: 'stop', graceful } });
      }
    }
    // Impatience.
    if (random.chance(0.5))
      this.agenda.after(random.int(0, 1500), () => this.#raise(random.pick(['SIGTERM', 'SIGINT'])));
  }

  #raise(signal: Signal, terminalGone = false): void {
    if (this.ended) return;
    if (this.#signals.some((pending) => pending.signal === signal)) {
      this.#count('signals coalesced');
      return;
    }
    this.#signals.push(terminalGone ? { type: 'signal', signal, terminalGone } : { type: 'signal', signal });
  }

  // --- the calm -----------------------------------------------------------------------------------------------------

  /** Ends what no timeout of the policy would end: the stopped go on, the stuck are killed. */
  #heal(): void {
    for (const process of this.#engine.kernel.table.values()) {
      if (process.life !== 'running') continue;
      const w = this.state.workers.find(({ id }) => id === process.workerId);
      this.#engine.kernel.kill(process, 'SIGCONT');
      const stuck = w === undefined || (w.phase !== 'ready' && w.deadlineMs === null);
      if (stuck || (this.#patient && isDeaf(process.program))) this.#engine.kernel.kill(process, 'SIGKILL');
    }
  }

  #settled(): boolean {
    if (this.ended) return true;
    const { state } = this;
    if (state.phase !== 'running' || state.rollout !== null || state.reloadQueued || state.stagger !== null)
      return false;
    if (state.workers.length !== state.desired || this.#hasWork()) return false;
    const slots = new Set<number>();
    for (const w of state.workers) {
      if (!this.#serves(w) || w.slot >= state.desired) return false;
      slots.add(w.slot);
    }
    return slots.size === state.desired && this.#fitsLoad(state);
  }

  #serves(w: WorkerState): boolean {
    if (w.phase !== 'ready' || w.generation !== this.state.generation) return false;
    if (w.retiring !== null || this.#timing.mustLeave.has(w.id)) return false;
    return this.#engine.kernel.table.get(w.pid ?? 0)?.workerId === w.id;
  }

  /** At rest nothing asks for attention, and an hour changes nothing. */
  #checkRest(): void {
    const { state } = this;
    const wrong = this.#ledger.settled(state);
    if (wrong !== null) throw new Violation(wrong);
    if (this.#engine.kernel.table.size !== state.workers.length)
      throw new Violation('a process that nobody knows');
    const { autoRestartIntervalMs, maxAgeMs } = state.policy;
    if (autoRestartIntervalMs > 0 || maxAgeMs > 0) {
      if (state.wakeAtMs === null) throw new Violation('the automatic restart, or the age, has no timer');
      return;
    }
    if (state.wakeAtMs !== null)
      throw new Violation(`a timer at rest, in ${state.wakeAtMs - this.agenda.now} ms`);
    const { commands } = this.#options.core.step(state, { type: 'tick' }, this.agenda.now + 3_600_000);
    if (commands.length > 0) throw new Violation(`at rest, and yet: ${commands[0]?.type}`);
  }

  #checkEnd(): void {
    this.ended = true;
    if (this.#engine.kernel.table.size > 0) throw new Violation('the manager ended and left a process');
    if (this.#ledger.exitCode === null) throw new Violation('the manager ended without an exit code');
  }

  #count(fault: Fault): void {
    this.tally.add(fault);
    this.#trace(() => `        ${fault}`);
  }

  #trace(line: () => string): void {
    this.#options.trace?.(line());
  }
}

function drawWeather(random: Random): Weather {
  const share = (): number => random.pick([0, 0.02, 0.1, 0.4]);
  return {
    badSpawn: share() / 2,
    badProgram: share(),
    badDeployment: random.pick([0, 0.3, 0.8]),
    badConfig: share(),
    late: share(),
    disorder: share(),
    busy: share() / 4,
  };
}

function spawnSpec(workerId: number, slot: number, generation: number): SpawnSpec {
  return {
    workerId,
    file: SIM_FILE,
    args: [],
    env: { PREFORK_SLOT: String(slot), PREFORK_GENERATION: String(generation) },
    inherit: [],
    channel: true,
    stdio: [-1, -1, -1],
    setsid: false,
    dieWithManager: true,
  };
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) frozen(part);
  }
  return value;
}

function traceLine(nowMs: number, event: Event, after: State, commands: readonly Command[]): string {
  const workers = after.workers
    .map((w) => `${w.id}:${w.slot}/${w.generation}${w.phase.slice(0, 2)}`)
    .join(' ');
  const { rollout } = after;
  const said = commands.map((c) => JSON.stringify(c)).join('\n            ');
  return `${nowMs.toFixed(1)} ${JSON.stringify(event)} → ${after.phase} gen ${after.generation}${
    rollout ? ` rollout ${rollout.generation}/${rollout.window}` : ''
  } [${workers}] wake ${after.wakeAtMs}${said ? `\n            ${said}` : ''}`;
}
