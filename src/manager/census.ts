/** Once a second, where an option asks for it: how many workers are busy, and who has grown too big. */
import type { Command } from '../core/command';
import type { Event } from '../core/event';
import { isHung, type State, type WorkerState } from '../core/state';
import type { Scoreboard, ScoreboardRow } from '../scoreboard/row';
import type { MemoryLimit } from '../worker/protocol';
import { memoryBytes } from '../worker/memory';
import type { ManagerObserver } from './manager';

const LOOK_MS = 1000;
/** A worker whose event loop works more than so much of its time is busy, also when no request is under way. */
export const BUSY_UTILISATION = 0.7;

export interface CensusOptions {
  readonly scoreboard: Scoreboard;
  /** of the workers of a generation; null: none */
  limitOf(generation: number): MemoryLimit | null;
  post(event: Event): void;
}

export class Census implements ManagerObserver {
  readonly #options: CensusOptions;
  #state: State | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CensusOptions) {
    this.#options = options;
  }

  turn(state: State): void {
    this.#state = state;
    if (!this.#isNeeded(state)) this.close();
    else this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  command(command: Command): void {
    if (command.type === 'exit') this.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #isNeeded({ phase, policy, workers }: State): boolean {
    if (phase !== 'running') return false;
    return policy.elastic !== null || workers.some((w) => this.#options.limitOf(w.generation) !== null);
  }

  #look(): void {
    const state = this.#state;
    if (state === null) return;
    const ready = state.workers.filter((w) => w.phase === 'ready' && !isHung(w));
    if (state.policy.elastic !== null) this.#options.post(this.#loadOf(ready));
    for (const w of ready) this.#weigh(w);
  }

  /** One that tells nothing of itself is neither idle nor busy. */
  #loadOf(ready: readonly WorkerState[]): Event {
    const rows = ready.map(({ id }) => this.#options.scoreboard.read(id)).filter((row) => row !== null);
    const busy = rows.filter(isBusy).length;
    return { type: 'load', idle: rows.length - busy, busy };
  }

  /** Most workers see to it themselves, between two requests; this is for one that grows without any. */
  #weigh(w: WorkerState): void {
    const limit = this.#options.limitOf(w.generation);
    if (limit === null || w.retiring !== null || w.pid === null) return;
    const bytes = memoryBytes(w.pid, limit.privateOnly) ?? this.#options.scoreboard.read(w.id)?.rssBytes ?? 0;
    if (bytes > limit.bytes) this.#options.post({ type: 'retire', workerId: w.id, reason: 'max-memory' });
  }
}

const isBusy = ({ state, utilisation }: ScoreboardRow): boolean =>
  state === 'busy' || utilisation > BUSY_UTILISATION;
