/**
 * What must hold over the whole life of a manager, kept in books of its own: what one step alone cannot show.
 * Every entry comes from events and commands, as an observer outside would note them.
 */
import type { Command } from '../../src/core/command';
import type { Event } from '../../src/core/event';
import { INTERRUPT_WINDOW_MS, type Policy } from '../../src/core/policy';
import type { State } from '../../src/core/state';

export class Violation extends Error {}

export class Ledger {
  /** workers spawned (or being spawned) whose end has not been told yet */
  readonly open = new Set<number>();
  readonly #born = new Set<number>();
  readonly #over = new Set<number>();
  readonly #settled = new Set<number>();
  readonly #committed = new Set<number>();
  #lastWorkerId = 0;
  #rollout: number | null = null;
  #started = false;
  #reloadWanted = false;
  #stopCode: number | null = null;
  #stopsAsked = 0;
  /** when a rollout last ended, or the start */
  #attemptMs: number;
  #interruptMs = Number.NEGATIVE_INFINITY;
  #exit: number | null = null;
  /** a token bucket of its own, with the widest limits seen */
  #burst: number;
  #perSecond: number;
  #tokens: number;
  #tokensAtMs: number;

  constructor(state: State, nowMs: number) {
    this.#burst = state.policy.spawnBurst;
    this.#perSecond = state.policy.spawnPerSecond;
    this.#tokens = this.#burst;
    this.#tokensAtMs = nowMs;
    this.#attemptMs = nowMs;
    // 0: every spawn begins a generation.
    if (state.generation > 0) this.#born.add(state.generation);
    this.#committed.add(state.generation);
  }

  get exitCode(): number | null {
    return this.#exit;
  }

  /** Notes a step; what is wrong with it. */
  check(
    before: State,
    event: Event,
    after: State,
    commands: readonly Command[],
    nowMs: number,
  ): string | null {
    if (before.phase === 'ended') return commands.length > 0 ? 'commands after the end' : null;
    if (event.type === 'exited' || event.type === 'spawnFailed') this.open.delete(event.workerId);
    this.#refill(after.policy, nowMs);
    const asked = wish(before, event);
    return (
      this.#asked(asked, before, event, after, nowMs) ??
      this.#commands(commands, before, after, nowMs) ??
      this.#begun(after) ??
      (sameWorkers(after, this.open) ? null : 'the workers of the state are not the children there are') ??
      (after.phase === 'ended' && this.#exit === null ? 'ended without exit' : null) ??
      (this.#reloadWanted && after.rollout === null && !after.reloadQueued ? 'a reload was forgotten' : null)
    );
  }

  /** What is wrong with a state in which everything should have come to rest. */
  settled(state: State): string | null {
    if (this.#reloadWanted) return 'a reload was forgotten';
    for (const generation of this.#born) {
      if (generation === state.generation) continue;
      if (!this.#over.has(generation)) return `the end of generation ${generation} was not told`;
    }
    return this.#started ? null : 'the start was not told';
  }

  /** What was asked for from outside is heard. */
  #asked(
    asked: ReturnType<typeof wish>,
    before: State,
    event: Event,
    after: State,
    nowMs: number,
  ): string | null {
    if (asked === 'stop') {
      if (this.#counts(before, event, nowMs)) this.#stopsAsked++;
      if (after.phase === 'running') return 'a stop was passed over';
    }
    if (asked === 'reload' && after.phase === 'running') this.#reloadWanted = true;
    if (before.phase !== 'running' || after.phase === 'running') return null;
    this.#reloadWanted = false;
    this.#stopCode = asked === 'stop' ? 0 : event.type === 'listenFailed' ? 4 : 3;
    return this.#stopCode !== 0 && before.everReady ? 'a service that had been ready was given up' : null;
  }

  /** A rollout that begins without a configuration to read is another attempt at one that failed. */
  #begun({ rollout }: State): string | null {
    const generation = rollout?.generation ?? null;
    if (generation === this.#rollout) return null;
    if (generation === null) return 'a rollout went without a word';
    return rollout?.policy == null ? 'a configuration was not asked for' : this.#begin(generation);
  }

  /** INTs within a second count once. */
  #counts(before: State, event: Event, nowMs: number): boolean {
    if (event.type !== 'signal' || before.policy.signals[event.signal]?.do !== 'interrupt') return true;
    if (nowMs - this.#interruptMs < INTERRUPT_WINDOW_MS) return false;
    this.#interruptMs = nowMs;
    return true;
  }

  #commands(commands: readonly Command[], before: State, after: State, nowMs: number): string | null {
    let published = false;
    for (const command of commands) {
      if (this.#exit !== null) return 'a command after exit';
      const wrong = this.#command(command, after, nowMs);
      if (wrong !== null) return wrong;
      if (command.type === 'publishStatus' && published) return 'the status was published twice in a step';
      published ||= command.type === 'publishStatus';
    }
    return published || sameStatus(before, after) ? null : 'the status changed and was not published';
  }

  #command(command: Command, after: State, nowMs: number): string | null {
    switch (command.type) {
      case 'spawn':
        return this.#spawn(command.workerId, command.generation, after);
      case 'signal':
        return this.open.has(command.workerId) ? null : 'a signal to a worker that has been reaped';
      case 'reloadConfig':
        this.#reloadWanted = false;
        return this.#begin(command.generation);
      case 'rolloutEnded':
        this.#attemptMs = nowMs;
        return this.#rolloutEnded(command, after);
      case 'generationEnded':
        return this.#generationEnded(command.generation, after);
      case 'started':
        if (this.#started) return 'the start was told twice';
        this.#started = true;
        return null;
      case 'exit':
        this.#exit = command.code;
        if (this.#rollout !== null) return 'an exit with a rollout under way';
        return this.open.size > 0 ? 'an exit with children left' : this.#exitCode(command.code);
      case 'log': {
        const { entry } = command;
        const early = entry.what === 'auto-restart' && nowMs < this.#attemptMs + entry.intervalMs;
        return early ? 'an automatic restart before its time' : null;
      }
      default:
        return null;
    }
  }

  #spawn(workerId: number, generation: number, after: State): string | null {
    if (workerId <= this.#lastWorkerId) return 'a worker id came again';
    this.#lastWorkerId = workerId;
    this.open.add(workerId);
    if (after.policy.generationPerSpawn && generation === after.generation) {
      this.#born.add(generation);
      this.#committed.add(generation);
    }
    if (!this.#born.has(generation) && this.#begun(after) !== null)
      return 'a spawn for a generation that was not begun';
    if (!this.#born.has(generation)) return 'a spawn for a generation of its own';
    if (this.#over.has(generation)) return 'a spawn for a generation that is over';
    if (this.#settled.has(generation) && !this.#committed.has(generation))
      return 'a spawn for a generation that failed';
    this.#tokens -= 1;
    return this.#tokens < -1e-6 ? 'spawns exceed their rate' : null;
  }

  #begin(generation: number): string | null {
    if (this.#rollout !== null) return 'a rollout within a rollout';
    this.#rollout = generation;
    if (this.#born.has(generation)) return 'a generation number came again';
    this.#born.add(generation);
    return null;
  }

  #rolloutEnded({ generation, ok }: { generation: number; ok: boolean }, after: State): string | null {
    if (this.#settled.has(generation)) return 'the end of a rollout was told twice';
    // A failed one that was begun again, and given up for a stop in the same step.
    const isRetry = this.#rollout === null && !ok && after.phase !== 'running' && !this.#born.has(generation);
    if (isRetry && this.#begin(generation) !== null) return 'a rollout within a rollout';
    if (this.#rollout !== generation) return 'the end of a rollout that was not there';
    this.#rollout = null;
    this.#settled.add(generation);
    if (!ok) return after.generation === generation ? 'a generation that failed serves' : null;
    this.#committed.add(generation);
    return null;
  }

  #generationEnded(generation: number, after: State): string | null {
    if (this.#over.has(generation)) return 'the end of a generation was told twice';
    if (!this.#born.has(generation)) return 'the end of a generation that was never begun';
    this.#over.add(generation);
    if (generation === after.generation && after.phase === 'running')
      return 'the generation that serves was told to be over';
    if (generation === after.rollout?.generation) return 'a generation was told to be over while it begins';
    return after.workers.some((w) => w.generation === generation)
      ? 'a generation was told to be over before its workers'
      : null;
  }

  #exitCode(code: number): string | null {
    if (code === this.#stopCode) return null;
    const forced = this.#stopCode === 0 && code > 128 && this.#stopsAsked > 1;
    return forced ? null : `exit code ${code} instead of ${this.#stopCode}`;
  }

  #refill(policy: Policy, nowMs: number): void {
    if (policy.spawnBurst > this.#burst) this.#burst = policy.spawnBurst;
    if (policy.spawnPerSecond > this.#perSecond) this.#perSecond = policy.spawnPerSecond;
    const refill = ((nowMs - this.#tokensAtMs) * this.#perSecond) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + refill);
    this.#tokensAtMs = nowMs;
  }
}

/** What the event asks the manager for. */
function wish(state: State, event: Event): 'stop' | 'reload' | null {
  if (event.type === 'control') {
    const { request } = event;
    return request.do === 'stop' || request.do === 'reload' ? request.do : null;
  }
  if (event.type !== 'signal') return null;
  const action = state.policy.signals[event.signal];
  switch (action?.do) {
    case 'stop':
    case 'stopNow':
    case 'interrupt':
      return 'stop';
    case 'hangup':
      return event.terminalGone === true ? 'stop' : 'reload';
    case 'reload':
      return action.do;
    default:
      return null;
  }
}

function sameWorkers(state: State, open: ReadonlySet<number>): boolean {
  return state.workers.length === open.size && state.workers.every((w) => open.has(w.id));
}

/** Whether what a status file shows is the same: who there is, in which phase, of which generation. */
function sameStatus(before: State, after: State): boolean {
  if (before.generation !== after.generation && !after.policy.generationPerSpawn) return false;
  if (before.desired !== after.desired) return false;
  const shown = (state: State) => state.workers.filter((w) => w.pid !== null);
  const old = shown(before);
  const now = shown(after);
  return (
    old.length === now.length &&
    now.every((w, i) => {
      const was = old[i];
      return was !== undefined && was.id === w.id && was.phase === w.phase && was.pid === w.pid;
    })
  );
}
