/** The control socket of a manager: what listens, and what answers. */
import type { State } from '../core/state';
import type { Binding } from '../engine/binding';
import { describeErrno, preforkError } from '../errors';
import type { Log } from '../manager/log';
import type { ManagerObserver } from '../manager/manager';
import type { ServicePaths } from '../options/load';
import { controlPath } from './locate';
import type { Question, Results, Status } from './protocol';
import { ControlServer, type Handler } from './server';
import { type Controllable, ControlService, type Door } from './service';
import type { SocketHandover } from './socket';
import { type StatusFacts, statusOf } from './status';

export class Control {
  readonly observer: ManagerObserver;
  /** answers a request that came another way than over the socket */
  readonly handle: Handler;
  readonly #service: ControlService;
  readonly #server: ControlServer;
  readonly #log: Log;

  /**
   * @param facts called for each status
   * @param lobby where workers of a killed manager come in; null: they are sent away
   */
  constructor(binding: Binding | null, log: Log, facts: () => StatusFacts, lobby: Door | null) {
    const service = new ControlService((state: State) => statusOf(state, facts()), lobby);
    this.#service = service;
    this.observer = service;
    this.handle = (request, reply) => service.handle(request, reply);
    this.#log = log;
    this.#server = new ControlServer(binding, log, this.handle);
  }

  /**
   * Listens, where the options say so. That nobody asked for it is a reason to go on without where it cannot be.
   * @throws PreforkError ERR_PREFORK_CONTROL
   */
  async open(paths: ServicePaths): Promise<void> {
    const path = controlPath(paths);
    if (path === null) return;
    try {
      await this.#server.open(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const failure = preforkError('ERR_PREFORK_CONTROL', { path, problem: problemOf(error) }, error);
      if (paths.control !== null || code === 'EADDRINUSE') throw failure;
      this.#log.warn({ event: 'control-failed', path, code }, `${failure.message}; going on without`);
    }
  }

  /** Until then every request is answered by an error. */
  attach(manager: Controllable): void {
    this.#service.attach(manager);
  }

  /** null: there is no manager yet */
  get status(): Status | null {
    return this.#service.status;
  }

  /** What a client could ask over the socket, from within this process. Rejects with an Error whose `code` is the protocol's. */
  ask<Q extends Question>(question: Q): Promise<Results[Q['do']]> {
    return new Promise((resolve, reject) => {
      this.#service.handle(
        { ...question, id: 0 },
        {
          progress: () => {},
          succeed: (result) => resolve(result as Results[Q['do']]),
          fail: (code, message) => reject(Object.assign(new Error(message), { code })),
          detach: () => null,
        },
      );
    });
  }

  /** Goes on with the socket of the manager that this process was before. */
  resume(handover: SocketHandover): void {
    this.#server.resume(handover);
  }

  get handover(): SocketHandover | null {
    return this.#server.handover;
  }

  close(): void {
    this.#server.close();
  }
}

function problemOf(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return 'another manager listens there';
    case 'ENOTSOCK':
      return 'a file that is no socket is in the way; remove it or name another path';
    default:
      return describeErrno(error);
  }
}
