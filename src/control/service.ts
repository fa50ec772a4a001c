/** What is asked over the control socket, put before the manager, and its answers when they are there. */
import type { Command, LogEntry } from '../core/command';
import type { ControlRequest, Event } from '../core/event';
import type { State } from '../core/state';
import type { Lobby } from '../manager/lobby';
import type { ManagerObserver } from '../manager/manager';
import { messageOf } from '../manager/messages';
import { withMemory } from './memory';
import type { Request, Status } from './protocol';
import type { Reply } from './server';

/** The part of a manager that is needed here. */
export interface Controllable {
  readonly state: State;
  post(event: Event): void;
}

/** The part of the lobby that is needed here. */
export type Door = Pick<Lobby, 'enter'>;

export class ControlService implements ManagerObserver {
  #manager: Controllable | null = null;
  readonly #lobby: Door | null;
  readonly #status: (state: State) => Status;
  /** asked for, and no generation begun since */
  #asked: Reply[] = [];
  /** by the generation that answers them */
  readonly #rollouts = new Map<number, readonly Reply[]>();
  /** done when the loop has taken up what was posted */
  #afterTurn: ((state: State) => void)[] = [];

  /** `lobby`: where workers of a killed manager come in. */
  constructor(status: (state: State) => Status, lobby: Door | null) {
    this.#status = status;
    this.#lobby = lobby;
  }

  /** From now on that manager is asked. */
  attach(manager: Controllable): void {
    this.#manager = manager;
  }

  get status(): Status | null {
    return this.#manager && this.#status(this.#manager.state);
  }

  handle(request: Request, reply: Reply): void {
    if (request.do === 'rejoin') return this.#enter(request, reply);
    if (this.#manager === null) return reply.fail('BUSY', 'the manager is starting');
    const { state } = this.#manager;
    const stopping = state.phase !== 'running';
    if (stopping && (request.do === 'reload' || request.do === 'scale')) {
      reply.fail('STOPPING', 'the service stops');
      return;
    }
    switch (request.do) {
      case 'status':
        return this.#tellStatus(this.#status(state), request.memory === true, reply);
      case 'reload':
        this.#asked.push(reply);
        return this.#post({ do: 'reload' });
      case 'stop':
        this.#post({ do: 'stop', graceful: request.graceful });
        return this.#later(({ workers }) => reply.succeed({ workers: workers.length }));
      case 'scale':
        this.#post({ do: 'scale', workers: request.workers });
        return this.#later(({ desired }) => reply.succeed({ workers: desired }));
      case 'reopenLogs':
        this.#post({ do: 'reopenLogs' });
        return this.#later(() => reply.succeed({}));
    }
  }

  #tellStatus(status: Status, memory: boolean, reply: Reply): void {
    if (memory) void withMemory(status).then((full) => reply.succeed(full));
    else reply.succeed(status);
  }

  #enter(claim: Extract<Request, { do: 'rejoin' }>, reply: Reply): void {
    if (this.#lobby === null) return reply.succeed({ join: false });
    const connection = reply.detach();
    if (connection !== null) this.#lobby.enter(connection, claim);
  }

  #post(request: ControlRequest): void {
    this.#manager?.post({ type: 'control', request });
  }

  #later(answer: (state: State) => void): void {
    this.#afterTurn.push(answer);
  }

  turn(state: State): void {
    const answers = this.#afterTurn;
    this.#afterTurn = [];
    for (const answer of answers) answer(state);
  }

  command(command: Command): void {
    switch (command.type) {
      // The configuration is read after they were asked for: this is the generation that they mean.
      case 'reloadConfig':
        this.#rollouts.set(command.generation, this.#asked);
        this.#asked = [];
        return;
      case 'rolloutEnded':
        return this.#onRolloutEnded(command);
      case 'log':
        return this.#onLog(command.entry);
      default:
        return;
    }
  }

  #onRolloutEnded({ generation, ok, reason }: Extract<Command, { type: 'rolloutEnded' }>): void {
    const replies = this.#rollouts.get(generation) ?? [];
    this.#rollouts.delete(generation);
    for (const reply of replies) {
      if (ok) reply.succeed({ generation });
      else reply.fail('ROLLOUT', reason ?? `generation ${generation} failed`);
    }
  }

  #onLog(entry: LogEntry): void {
    if (entry.what === 'stopping') {
      // Those that wait for their turn wait in vain.
      for (const reply of this.#asked) reply.fail('STOPPING', 'the service stops');
      this.#asked = [];
      return;
    }
    const waiting = entry.what === 'rollout-queued' ? this.#asked : this.#repliesAbout(entry);
    for (const reply of waiting) reply.progress(messageOf(entry));
  }

  #repliesAbout(entry: LogEntry): readonly Reply[] {
    if (entry.what === 'worker-spawned' || !('generation' in entry)) return [];
    return this.#rollouts.get(entry.generation) ?? [];
  }
}
