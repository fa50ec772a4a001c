/** Drives the core by hand: events in, commands out, every step under the invariants. */
import type { Command } from '../../src/core/command';
import type { Event } from '../../src/core/event';
import { violations } from '../../src/core/invariants';
import { defaultPolicy, type Policy } from '../../src/core/policy';
import { initialState, type State, type WorkerState } from '../../src/core/state';
import { step } from '../../src/core/step';

export class Drive {
  state: State;
  nowMs = 0;
  /** the last step's, log lines left out */
  commands: readonly Command[] = [];
  /** all of them, from the beginning */
  readonly log: Command[] = [];

  constructor(policy: Partial<Policy> = {}) {
    this.state = initialState({ ...defaultPolicy, firstFailureExits: false, ...policy }, 0, 1);
    this.step({ type: 'tick' });
  }

  step(event: Event): this {
    const before = this.state;
    const { state, commands } = step(before, event, this.nowMs);
    this.state = state;
    const found = violations(before, event, state, commands, this.nowMs);
    if (found.length > 0) throw new Error(`${JSON.stringify(event)}: ${found.join('; ')}`);
    this.commands = commands.filter(({ type }) => type !== 'log');
    this.log.push(...commands);
    return this;
  }

  /** Lets time pass, with a tick whenever the core asks for one. */
  pass(ms: number): this {
    const untilMs = this.nowMs + ms;
    for (let ticks = 0; this.state.wakeAtMs !== null && this.state.wakeAtMs <= untilMs; ticks++) {
      if (ticks > 1000) throw new Error('ticks without end');
      this.nowMs = this.state.wakeAtMs;
      this.step({ type: 'tick' });
    }
    this.nowMs = untilMs;
    return this;
  }

  signal(signal: NodeJS.Signals): this {
    return this.step({ type: 'signal', signal });
  }

  spawned(...workerIds: number[]): this {
    for (const workerId of workerIds) this.step({ type: 'spawned', workerId, pid: 100 + workerId });
    return this;
  }

  /** Spawned and listening. */
  up(...workerIds: number[]): this {
    for (const workerId of workerIds)
      this.spawned(workerId).step({ type: 'listening', workerId, key: 'tcp 80' });
    return this;
  }

  exited(workerId: number, status = 0): this {
    return this.step({ type: 'exited', workerId, status, lastWords: null });
  }

  /** The configuration of the reload that is under way has been read. */
  loaded(change: Partial<Policy> = {}): this {
    const generation = this.state.rollout?.generation ?? 0;
    return this.step({ type: 'configLoaded', generation, policy: { ...this.state.policy, ...change } });
  }

  worker(id: number): WorkerState | undefined {
    return this.state.workers.find((w) => w.id === id);
  }

  phase(id: number): string {
    return this.worker(id)?.phase ?? 'gone';
  }

  /** Ids of the workers that the last step spawned. */
  get spawns(): number[] {
    return this.commands.flatMap((c) => (c.type === 'spawn' ? [c.workerId] : []));
  }

  told(type: Command['type']): Command[] {
    return this.log.filter((c) => c.type === type);
  }
}
