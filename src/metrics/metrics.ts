/** `--metrics`: what is counted and served, from the socket to its handover to the manager's successor. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { version } from '../cli/version';
import { listenAt, resumeAt, type ControlSocket, type SocketHandover } from '../control/socket';
import type { Status } from '../control/protocol';
import type { Handler } from '../control/server';
import type { State } from '../core/state';
import type { Binding } from '../engine/binding';
import { nowMs } from '../engine/clock';
import { errnoCode } from '../engine/errno';
import { describeErrno, preforkError } from '../errors';
import {
  ANY_V4,
  ANY_V6,
  formatSocketAddress,
  resolveAddress,
  type SocketAddress,
} from '../manager/addresses';
import type { Listeners } from '../manager/listeners';
import type { Log } from '../manager/log';
import type { ManagerObserver } from '../manager/manager';
import { observers } from '../manager/observers';
import type { Endpoint } from '../options/address';
import type { Scoreboard } from '../scoreboard/row';
import type { ManagerMessage } from '../worker/protocol';
import { type Answer, plain } from './answer';
import { Door } from './door';
import { families } from './families';
import { Live } from './live';
import { MemorySamples } from './memory-samples';
import { page } from './page';
import { drops, queueLengths } from './queues';
import { Registries, type RegistriesData } from './registries';
import { createMetricsServer } from './server';
import { Tally, type TallyData } from './tally';

/** Scrapes that come at once, or as soon after each other, get one text. */
const REUSE_MS = 100;
/** The manager's user and group. */
const SOCKET_MODE = 0o660;
const BACKLOG = 64;

/** What metrics begin with. */
export interface MetricsStart {
  /** of the control token; null: nothing can be changed here */
  readonly tokenDigest: string | null;
}

/** Plain data, and the descriptor that it is served at; null: none, since nobody asked for it. */
export interface MetricsHandover extends MetricsStart {
  readonly fd: number;
  /** of a Unix socket */
  readonly file: SocketHandover | null;
  readonly tally: TallyData;
  readonly registries: RegistriesData;
}

/** The part of a manager that is needed here. */
interface Observed {
  readonly state: State;
  send(workerId: number, message: ManagerMessage): boolean;
}

export interface MetricsDeps {
  readonly binding: Binding | null;
  readonly log: Log;
  readonly listeners: Listeners;
  readonly scoreboard: Scoreboard;
  readonly engine: string;
  readonly startedAtMs: number;
  status(): Status | null;
  readonly control: Handler;
}

export class Metrics {
  readonly observer: ManagerObserver;
  readonly #deps: MetricsDeps;
  readonly #tally: Tally;
  readonly #registries: Registries;
  readonly #memory = new MemorySamples();
  readonly #server: Server;
  readonly #live: Live;
  readonly #tokenDigest: string | null;
  #manager: Observed | null = null;
  /** −1: not one that can be handed over */
  #fd = -1;
  #file: ControlSocket | null = null;
  #text: { readonly atMs: number; readonly text: Promise<string> } | null = null;

  constructor(deps: MetricsDeps, from: MetricsStart | MetricsHandover) {
    const former = 'fd' in from ? from : null;
    // Of a version that knew no token there is none.
    const tokenDigest = from.tokenDigest ?? null;
    this.#deps = deps;
    this.#tokenDigest = tokenDigest;
    this.#tally = new Tally(deps.scoreboard, former?.tally ?? null);
    this.#registries = new Registries(
      (workerId, seq) => this.#manager?.send(workerId, { type: 'registry', seq }) ?? false,
      former?.registries ?? null,
    );
    this.#live = new Live(() => deps.status());
    this.observer = observers(this.#tally, this.#registries, this.#live);
    this.#server = createMetricsServer({
      route: (path) => this.#route(path),
      events: (response) => this.#live.open(response),
      door: tokenDigest === null ? null : new Door(tokenDigest, deps.log, deps.control),
    });
    if (former !== null) this.#resume(former);
  }

  /** From now on that manager is told of. */
  attach(manager: Observed): void {
    this.#manager = manager;
  }

  /** @throws PreforkError ERR_PREFORK_LISTEN */
  async open(endpoint: Endpoint): Promise<void> {
    const at = await resolveAddress(endpoint).catch((error: NodeJS.ErrnoException) => {
      throw listenError(String('host' in endpoint ? endpoint.host : ''), error);
    });
    const { binding, log } = this.#deps;
    try {
      if (at.kind === 'unix') this.#file = await listenAt(this.#server, at.address, binding, SOCKET_MODE);
      else if (binding === null) await this.#listenByName(at);
      else await this.#listenAt(binding, at);
    } catch (error) {
      throw listenError(`${formatSocketAddress(at)} (--metrics)`, error);
    }
    const address = at.kind === 'unix' ? formatSocketAddress(at) : `http://${addressOf(this.#server)}`;
    log.info({ event: 'metrics', address }, `metrics at ${address}`);
  }

  async #listenAt(binding: Binding, { address, port }: SocketAddress): Promise<void> {
    const spec = { kind: 'tcp', address, port, backlog: BACKLOG, reusePort: false, ipv6Only: false } as const;
    let fd = binding.listen(spec);
    // Without IPv6 every address is every IPv4 address.
    if (fd < 0 && address === ANY_V6 && errnoCode(fd) !== 'EADDRINUSE')
      fd = binding.listen({ ...spec, address: ANY_V4 });
    if (fd < 0) throw Object.assign(new Error(errnoCode(fd)), { code: errnoCode(fd) });
    await this.#listenOn(fd);
  }

  async #listenOn(fd: number): Promise<void> {
    this.#fd = fd;
    this.#server.listen({ fd, backlog: BACKLOG });
    await once(this.#server, 'listening');
    this.#listening();
  }

  async #listenByName({ address, port }: SocketAddress): Promise<void> {
    this.#server.listen({ host: address, port, backlog: BACKLOG });
    await once(this.#server, 'listening');
    this.#listening();
  }

  #listening(): void {
    const { log } = this.#deps;
    this.#server.on('error', (err) => log.warn({ err }, `metrics: ${describeErrno(err)}`));
  }

  #resume({ fd, file }: MetricsHandover): void {
    if (file !== null) this.#file = resumeAt(this.#server, file);
    else if (fd >= 0) {
      this.#fd = fd;
      this.#server.listen({ fd, backlog: BACKLOG });
    }
    this.#listening();
  }

  handOver(): MetricsHandover {
    return {
      fd: this.#file?.handover?.fd ?? this.#fd,
      file: this.#file?.handover ?? null,
      tokenDigest: this.#tokenDigest,
      tally: this.#tally.handOver(),
      registries: this.#registries.handOver(),
    };
  }

  close(): void {
    this.#live.close();
    if (this.#file !== null) this.#file.close();
    else this.#server.close();
    this.#server.closeAllConnections();
  }

  #route(path: string): Answer | Promise<Answer> | undefined {
    const state = this.#manager?.state;
    switch (path) {
      case '/':
        return page(this.#tokenDigest !== null);
      case '/metrics':
        return this.#metrics(state);
      // It answers, so the manager's loop turns.
      case '/healthz':
        return plain(200, 'ok\n');
      case '/readyz': {
        const problem = unreadiness(state);
        return problem === null ? plain(200, 'ok\n') : plain(503, `${problem}\n`);
      }
      default:
        return undefined;
    }
  }

  async #metrics(state: State | undefined): Promise<Answer> {
    if (state === undefined) return plain(503, 'the manager is starting\n');
    const now = nowMs();
    if (this.#text === null || now - this.#text.atMs > REUSE_MS) {
      const text = this.#render();
      this.#text = { atMs: Number.POSITIVE_INFINITY, text };
      // Whoever asks meanwhile waits for it, too.
      const done = (): void => {
        this.#text = { atMs: nowMs(), text };
      };
      text.then(done, done);
    }
    const { text } = this.#text;
    return { status: 200, type: Registry.PROMETHEUS_CONTENT_TYPE, body: await text };
  }

  async #render(): Promise<string> {
    const programs = await this.#registries.collect();
    const { engine, listeners, scoreboard, startedAtMs } = this.#deps;
    const { state } = this.#manager!;
    const own = families({
      state,
      scoreboard,
      engine,
      startedAtMs,
      tally: this.#tally,
      memory: this.#memory.of(state),
      queues: queueLengths(listeners.all()),
      drops: drops(),
      version: version(),
      nowMs: nowMs(),
    });
    return exposition([...own, ...programs]);
  }
}

/** The families as Prometheus reads them. */
export function exposition(all: readonly { readonly name: string }[]): Promise<string> {
  const registry = new Registry();
  // A metric is to a registry what has a name and can be got.
  for (const family of all) registry.registerMetric({ name: family.name, get: () => family } as never);
  return registry.metrics();
}

/** Why no request should be sent here; null: they are served. */
export function unreadiness(state: State | undefined): string | null {
  if (state === undefined || (state.phase === 'running' && !state.started)) return 'starting';
  if (state.phase !== 'running') return 'stopping';
  return state.workers.some(({ phase }) => phase === 'ready') ? null : 'no worker is ready';
}

function addressOf(server: Server): string {
  const { address, port } = server.address() as AddressInfo;
  const host = address === ANY_V6 || address === ANY_V4 ? 'localhost' : address;
  return formatSocketAddress({ kind: 'tcp', address: host, port });
}

function listenError(address: string, error: unknown): Error {
  const { code } = error as NodeJS.ErrnoException;
  const advice = code === 'EADDRINUSE' ? 'another process listens there' : '';
  return preforkError('ERR_PREFORK_LISTEN', { address, code: code ?? describeErrno(error), advice }, error);
}
