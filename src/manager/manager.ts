/**
 * The shell around the core: one loop that waits for events, folds them through step(), and does what it says. All
 * state worth keeping is the core's; here is only what the operating system gave us for it.
 */
import type { Command } from '../core/command';
import type { Event } from '../core/event';
import { violations } from '../core/invariants';
import { initialState, type State } from '../core/state';
import { step } from '../core/step';
import { nowMs } from '../engine/clock';
import type { Engine, EngineEvent, Signal, SpawnSpec, WorkerHandle } from '../engine/engine';
import type { Board } from '../scoreboard/board';
import type { ManagerMessage, WorkerMessage } from '../worker/protocol';
import { formatSocketAddress } from './addresses';
import { type Adoptions, adoptionKey, adoptions } from './coverage';
import { type Launch, type Place, spawnSpec } from './launch';
import type { ListenRequest, Listeners } from './listeners';
import type { Log } from './log';
import { messageOf } from './messages';
import type { GenerationPlan, Service } from './service';
import { SignalQueue } from './signal-queue';
import { StatusFile } from './status-file';

/** Errors of fork(2) and of opening descriptors that pass by themselves. */
const TRANSIENT = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);
/** Characters of a worker's last words that are kept. */
const MAX_LAST_WORDS = 4096;

/** What those who embed a manager are told, after it has been done. */
export interface ManagerObserver {
  command?(command: Command, state: State): void;
  engineEvent?(event: EngineEvent, state: State): void;
  /** the loop has done all that it knew of, and is about to wait */
  turn?(state: State): void;
}

/** What a manager's successor in the same process needs to go on: plain data. */
export interface ManagerHandover {
  readonly state: State;
  readonly plans: readonly (readonly [number, GenerationPlan])[];
  readonly workers: readonly {
    readonly workerId: number;
    readonly pid: number;
    readonly generation: number;
    readonly slot: number;
    readonly lastWords: string | null;
  }[];
  readonly adoptions: readonly (readonly [string, number])[];
  readonly hadTerminal: boolean;
  /** come, but unknown to the state */
  readonly events: readonly Event[];
}

interface Running {
  handle: WorkerHandle;
  lastWords: string | null;
  generation: number;
  slot: number;
}

export interface ManagerDeps {
  engine: Engine;
  log: Log;
  service: Service;
  listeners: Listeners;
  /** the rows of the workers; absent: they have none */
  board?: Board;
  observer?: ManagerObserver;
  /** seed of the jitter; any 32-bit number but 0 */
  seed?: number;
  /** how a worker is started, where that is not for launch.ts to say (start_server) */
  spec?: (place: Place) => SpawnSpec;
  /** reopens the log file (USR1) */
  reopenLogs?: () => void;
  /** begins to replace this process by a new manager (USR2) */
  upgrade?: () => void;
  /** of the manager that this process was before it replaced itself */
  former?: ManagerHandover;
}

export class Manager {
  readonly #deps: ManagerDeps;
  readonly #engine: Engine;
  readonly #log: Log;
  readonly #listeners: Listeners;
  readonly #signals: SignalQueue;
  readonly #statusFile: StatusFile | null;
  readonly #plans = new Map<number, GenerationPlan>();
  readonly #running = new Map<number, Running>();
  #inbox: Event[] = [];
  #state: State;
  #adoptions: Adoptions = new Map();
  #exitCode: number | null = null;
  /** how often the log file was opened anew, … */
  #reopened = 0;
  /** … and what that was when workers were ordered that are not there yet */
  readonly #ordered = new Map<number, number>();
  /** addresses that workers are being given */
  #requests = 0;
  #tellSettled: ((settled: boolean) => void) | null = null;

  constructor(deps: ManagerDeps) {
    const { service, engine, former } = deps;
    this.#deps = deps;
    this.#engine = engine;
    this.#log = deps.log;
    this.#listeners = deps.listeners;
    this.#signals = new SignalQueue(() => engine.wake(), former?.hadTerminal);
    this.#statusFile = service.statusFile === null ? null : new StatusFile(service.statusFile);
    this.#state = initialState(service.policy, nowMs(), deps.seed ?? process.pid);
    this.#plans.set(this.#state.generation, service);
    if (former) this.#takeOver(former);
  }

  #takeOver({ state, plans, workers, adoptions, events }: ManagerHandover): void {
    this.#state = state;
    this.#plans.clear();
    for (const [generation, plan] of plans) this.#plans.set(generation, plan);
    for (const { workerId, pid, generation, slot, lastWords } of workers) {
      this.#running.set(workerId, { handle: { workerId, pid }, lastWords, generation, slot });
    }
    this.#adoptions = new Map(adoptions);
    this.#inbox.push(...events);
  }

  /** For a successor in this process; changes nothing here. */
  handOver(): ManagerHandover {
    return {
      state: this.#state,
      plans: [...this.#plans],
      workers: [...this.#running].map(([workerId, { handle, generation, slot, lastWords }]) => {
        return { workerId, pid: handle.pid, generation, slot, lastWords };
      }),
      adoptions: [...this.#adoptions],
      hadTerminal: this.#signals.hadTerminal,
      events: [...this.#inbox, ...this.#signals.waiting],
    };
  }

  get isStopping(): boolean {
    return this.#state.phase !== 'running';
  }

  /** What a successor could not go on with, in words; null: nothing. */
  get underWay(): string | null {
    const { phase, started, rollout, reloadQueued, workers } = this.#state;
    if (phase !== 'running') return 'the service stops';
    if (!started) return 'the first workers are not all ready yet';
    if (rollout !== null || reloadQueued) return 'a new generation is starting';
    if (this.#requests > 0) return 'an address is being opened';
    if (workers.some(({ pid }) => pid === null)) return 'a worker is being started';
    if (this.#engine.busy) return 'a forkserver is starting or ending';
    return this.#inbox.length > 0 ? 'events are waiting' : null;
  }

  /** Resolves after a turn that left nothing under way; false: the service stops instead. One call at a time. */
  settled(): Promise<boolean> {
    this.#engine.wake();
    return new Promise((resolve) => {
      this.#tellSettled = resolve;
    });
  }

  #afterTurn(): void {
    this.#deps.observer?.turn?.(this.#state);
    if (this.#tellSettled === null || (this.underWay !== null && !this.isStopping)) return;
    this.#tellSettled(!this.isStopping);
    this.#tellSettled = null;
  }

  get state(): State {
    return this.#state;
  }

  /** How the workers of a generation are started. */
  planOf(generation: number): GenerationPlan | undefined {
    return this.#plans.get(generation);
  }

  get listeners(): Listeners {
    return this.#listeners;
  }

  /** Puts an event before the core in the loop's next turn. */
  post(event: Event): void {
    this.#inbox.push(event);
    this.#engine.wake();
  }

  /** Sends a worker a message of the program's or the manager's; false where it is gone. */
  send(workerId: number, message: ManagerMessage): boolean {
    const running = this.#running.get(workerId);
    return running !== undefined && this.#engine.send(running.handle, message);
  }

  /** Signals a worker past the core: for what is no matter of its life. */
  signal(workerId: number, signal: Signal): void {
    const running = this.#running.get(workerId);
    if (running) this.#engine.signal(running.handle, signal);
  }

  /** How workers of that generation are started. Where every spawn is a generation of its own, there is one plan for all. */
  launchOf(generation: number): Launch {
    return (this.#plans.get(generation) ?? this.#deps.service).launch;
  }

  /** Runs until the last worker has been reaped. The exit code. */
  async run(): Promise<number> {
    this.#signals.trap(this.#state.policy.signals);
    try {
      if (this.#deps.former) this.#publishStatus();
      this.#inbox.push({ type: 'tick' });
      for (;;) {
        this.#drainInbox();
        this.#coverSlots();
        this.#afterTurn();
        if (this.#exitCode !== null) return this.#exitCode;
        const events = await this.#engine.wait(this.#state.wakeAtMs ?? Number.POSITIVE_INFINITY);
        for (const event of events) this.#onEngineEvent(event);
        this.#inbox.push(...this.#signals.take(), { type: 'tick' });
      }
    } finally {
      this.#signals.close();
      this.#statusFile?.remove();
    }
  }

  #drainInbox(): void {
    for (let event = this.#inbox.shift(); event !== undefined; event = this.#inbox.shift()) {
      const before = this.#state;
      const { state, commands } = step(before, event, nowMs());
      this.#state = state;
      for (const what of violations(before, event, state, commands)) {
        this.#log.error({ event }, `invariant violated, please report it: ${what}`);
      }
      for (const command of commands) {
        this.#execute(command);
        this.#deps.observer?.command?.(command, state);
      }
    }
  }

  // --- commands --------------------------------------------------------------------------------------------------

  #execute(command: Command): void {
    switch (command.type) {
      case 'spawn':
        return this.#spawn(command);
      case 'signal':
        return this.signal(command.workerId, command.signal);
      case 'publishStatus':
        return this.#publishStatus();
      case 'reloadConfig':
        void this.#reload(command.generation);
        return;
      case 'generationEnded':
        this.#plans.delete(command.generation);
        this.#listeners.forgetGeneration(command.generation);
        this.#engine.endForkserver?.(command.generation);
        return;
      case 'quiesceListeners':
        this.#engine.endForkserver?.('all');
        // Other commands' programs may go on accepting after their signal; ours only empty their queues.
        if (this.#deps.service.launch.hook !== null) {
          // They accept what waits before they leave; nobody else will.
          for (const workerId of this.#running.keys()) this.send(workerId, { type: 'poolStops' });
          this.#listeners.quiesce();
        }
        return;
      case 'reopenLogs':
        return this.#reopenLogs();
      case 'reexec':
        return this.#upgrade();
      case 'log':
        return this.#write(command);
      case 'exit':
        this.#exitCode = command.code;
        return;
      case 'started':
      case 'rolloutEnded':
        return;
    }
  }

  #spawn(place: Extract<Command, { type: 'spawn' }>): void {
    const { workerId, generation, slot } = place;
    const spec = this.#deps.spec?.(place) ?? this.#specOf(this.launchOf(generation), place);
    const result = this.#engine.spawn(spec);
    if ('handle' in result) {
      this.#onSpawned(workerId, result.handle, generation, slot);
    } else if ('code' in result) {
      this.#onSpawnFailed(workerId, result.code, result.step);
    } else {
      this.#ordered.set(workerId, this.#reopened);
    }
  }

  #specOf(launch: Launch, place: Place): SpawnSpec {
    const seat = (launch.scoreboard && this.#deps.board?.open(place)) ?? null;
    return spawnSpec(launch, place, this.#listeners, this.#engine, this.#log.fd, seat);
  }

  #onSpawned(workerId: number, handle: WorkerHandle, generation: number, slot: number): void {
    const running: Running = { handle, lastWords: null, generation, slot };
    this.#running.set(workerId, running);
    // It was ordered with the log of that time.
    if ((this.#ordered.get(workerId) ?? this.#reopened) !== this.#reopened) this.#sendLog(running);
    this.#ordered.delete(workerId);
    this.#inbox.push({ type: 'spawned', workerId, pid: handle.pid });
  }

  #onSpawnFailed(workerId: number, code: string, failedStep: string, reason?: string): void {
    this.#deps.board?.close(workerId);
    this.#ordered.delete(workerId);
    this.#inbox.push({
      type: 'spawnFailed',
      workerId,
      code,
      step: failedStep,
      transient: TRANSIENT.has(code),
      ...(reason !== undefined && { reason }),
    });
  }

  #publishStatus(): void {
    try {
      this.#statusFile?.write(this.#state);
    } catch (err) {
      this.#log.error({ err }, 'cannot write the status file');
    }
  }

  async #reload(generation: number): Promise<void> {
    try {
      const plan = await this.#deps.service.reload();
      this.#plans.set(generation, plan);
      this.#signals.trap(plan.policy.signals);
      this.post({ type: 'configLoaded', generation, policy: plan.policy });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.post({ type: 'configFailed', generation, reason });
    }
  }

  #upgrade(): void {
    if (this.#deps.upgrade) this.#deps.upgrade();
    else
      this.#log.warn(
        { event: 'upgrade-failed' },
        `the ${this.#engine.name} engine cannot replace the manager`,
      );
  }

  #reopenLogs(): void {
    this.#deps.reopenLogs?.();
    this.#reopened++;
    for (const running of this.#running.values()) this.#sendLog(running);
  }

  /** The worker's own output goes on in the new file, where it is the log. */
  #sendLog({ handle, generation }: Running): void {
    const { stdio } = this.launchOf(generation);
    const outputs = [1, 2].filter((fd) => stdio[fd] === 'log');
    const message: ManagerMessage = { type: 'reopenLogs', outputs, file: this.#log.file };
    if (outputs.length === 0) this.#engine.send(handle, message);
    else this.#engine.send(handle, message, { fd: this.#log.fd });
  }

  #write({ level, entry }: Extract<Command, { type: 'log' }>): void {
    const { what, ...fields } = entry;
    this.#log[level]({ event: what, ...(fields as Record<string, unknown>) }, messageOf(entry));
  }

  // --- events of the engine -----------------------------------------------------------------------------------------

  #onEngineEvent(event: EngineEvent): void {
    this.#deps.observer?.engineEvent?.(event, this.#state);
    const { workerId } = event;
    switch (event.type) {
      case 'spawned': {
        const w = this.#state.workers.find(({ id }) => id === workerId);
        if (w) this.#onSpawned(workerId, event.handle, w.generation, w.slot);
        return;
      }
      case 'spawnFailed':
        return this.#onSpawnFailed(workerId, event.code, event.step, event.reason);
      case 'exited': {
        const lastWords = this.#running.get(workerId)?.lastWords ?? null;
        this.#running.delete(workerId);
        this.#deps.board?.close(workerId);
        this.#inbox.push({ type: 'exited', workerId, status: event.status, lastWords });
        return;
      }
      case 'stopped':
      case 'continued':
        this.#inbox.push({ type: event.type, workerId });
        return;
      case 'message':
        return this.#onMessage(workerId, event.message as WorkerMessage);
      case 'channelClosed':
        return;
    }
  }

  /** A worker's message is the program's word: of the wrong shape it is passed over. */
  #onMessage(workerId: number, message: WorkerMessage): void {
    switch (message?.type) {
      case 'listen':
        void this.#onListen(workerId, message);
        return;
      case 'listening':
      case 'unlistening':
        this.#inbox.push({ type: message.type, workerId, key: String(message.key) });
        return;
      case 'ready':
      case 'draining':
        this.#inbox.push({ type: message.type, workerId });
        return;
      case 'retire':
        this.#inbox.push({ type: 'retire', workerId, reason: String(message.reason) });
        return;
      case 'row':
        this.#deps.board?.receive(workerId, message.values);
        return;
      case 'lastWords': {
        const running = this.#running.get(workerId);
        if (running) running.lastWords = String(message.text).slice(-MAX_LAST_WORDS);
        return;
      }
      default:
        return;
    }
  }

  async #onListen(workerId: number, request: ListenRequest): Promise<void> {
    const running = this.#running.get(workerId);
    if (!running) return;
    const { seq } = request;
    this.#requests++;
    const { launch } = this.#plans.get(running.generation) ?? this.#deps.service;
    const result = await this.#listeners
      .request(request, running.generation, launch.credentials)
      .finally(() => this.#requests--);
    if ('code' in result) {
      const address = formatSocketAddress(request);
      if (result.code === 'EACCES' && launch.credentials !== null) {
        this.#log.warn(
          { event: 'listen-refused', workerId, address },
          `${address} needs privileges that the workers have dropped; name it with --bind`,
        );
      }
      this.#engine.send(running.handle, {
        type: 'listener',
        seq,
        key: address,
        errno: result.errno,
        code: result.code,
      });
      this.post({ type: 'listenFailed', workerId, address, code: result.code });
      return;
    }
    const { listener } = result;
    const socket = this.#listeners.socketFor(listener, running.slot);
    const { key, boundPort, boundAddress: address } = listener;
    const answer: ManagerMessage =
      socket === null
        ? { type: 'listener', seq, key, errno: -24, code: 'EMFILE' }
        : { type: 'listener', seq, key, boundPort, address };
    this.#engine.send(running.handle, answer, socket ?? undefined);
  }

  /** With --reuse-port: sees to it that somebody accepts from every slot's socket. */
  #coverSlots(): void {
    const sockets = this.#listeners
      .all()
      .filter((listener) => listener.perSlot)
      .flatMap(({ key, sockets: bySlot }) => [...bySlot.keys()].map((slot) => ({ key, slot })));
    if (sockets.length === 0) return;
    const before = this.#adoptions;
    const after =
      this.#state.phase === 'running' ? adoptions(this.#state, sockets, before) : new Map<string, number>();
    for (const place of sockets) {
      const name = adoptionKey(place);
      const was = before.get(name);
      const is = after.get(name);
      if (was === is) continue;
      const socket = this.#listeners.get(place.key)?.sockets.get(place.slot);
      const adopter = is === undefined ? undefined : this.#running.get(is);
      const adopted = adopter && this.#engine.send(adopter.handle, { type: 'adopt', ...place }, socket);
      // Not delivered: the next turn tries again.
      if (is !== undefined && !adopted) after.delete(name);
      if (was !== undefined) this.send(was, { type: 'release', ...place });
    }
    this.#adoptions = after;
  }
}
