/**
 * Puts the parts of the worker's side together. Loaded by the hook, in workers of prefork's only. What not every worker needs is
 * loaded when it is needed: every file costs every start.
 */
import type { Socket as UdpSocket } from 'node:dgram';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:net';
import type { Channel, ChannelEvents, Delivery } from './channel';
import { warnOfCluster } from './clusterWarning';
import { Connections } from './connections';
import { Drain } from './drain';
import { LastWords } from './lastWords';
import type { MemoryBound } from './memoryBound';
import { discard, ListenHook } from './listen';
import { ListenerTable } from './listenerTable';
import type { NativeChannel } from './nativeChannel';
import { ProgramIpc } from './programIpc';
import type { ManagerMessage, WorkerBoot } from './protocol';
import { RequestCounter } from './requests';
import type { RegistryReporter } from './registry';
import { getRuntime, type MetricsRegistry, setRuntime } from './runtime';
import { watchStopSignals } from './signals';
import type { Vitals } from './vitals';

const PROTOCOL_VERSION = 1;
const DEFAULT_DEBUG_PORT = 9229;

/** `bootJson` and `channelName`: the values of PREFORK_WORKER and PREFORK_CHANNEL. */
export function install(bootJson: string, channelName: string): void {
  const boot = JSON.parse(bootJson) as WorkerBoot;
  if (boot.v !== PROTOCOL_VERSION) {
    console.error(
      `prefork: this worker speaks version ${PROTOCOL_VERSION} of the protocol, its manager version ${boot.v}`,
    );
    process.exit(1);
  }
  new Worker(boot, channelName).install();
}

class Worker {
  readonly #boot: WorkerBoot;
  readonly #channel: Channel;
  readonly #program: ProgramIpc;
  readonly #requests: RequestCounter;
  readonly #connections: Connections;
  readonly #drain: Drain;
  /** null: nobody asks */
  readonly #vitals: Vitals | null;
  /** null: without bound */
  readonly #memory: MemoryBound | null;
  readonly #listen: ListenHook;
  readonly #table: ListenerTable;
  readonly #reopenLogs: (() => void)[] = [];
  #served = false;
  /** null: the program has offered none */
  #registry: RegistryReporter | null = null;
  #seeksManager = false;

  constructor(boot: WorkerBoot, channelName: string) {
    this.#boot = boot;
    this.#channel = this.#openChannel(channelName);
    this.#program = new ProgramIpc(this.#channel, boot.engine, () => this.#ready());
    this.#vitals = this.#openRow();
    this.#memory = this.#boundMemory();
    this.#requests = new RequestCounter(this.#channel, boot.maxRequests, (total) => {
      this.#vitals?.requestsServed(total);
      this.#memory?.requestsServed(total);
    });
    this.#connections = new Connections({
      onStream: (connection) => this.#drain.streamComes(connection),
      onStreamsDone: (connection) => this.#drain.streamsDone(connection),
      onOpened: () => this.#vitals?.requestOpens(),
      onClosed: (count) => this.#vitals?.requestsClose(count),
      onConnections: (open) => this.#vitals?.connectionsOpen(open),
      onBytes: (read, written) => this.#vitals?.bytes(read, written),
      onServed: () => this.#requests.count(1),
      onEmpty: () => this.#drain.connectionsGone(),
    });
    this.#drain = new Drain({
      connections: this.#connections,
      lingerMs: boot.lingerMs,
      stopAccepting: (server) => this.#listen.stopAccepting(server),
      narrowsQueues: boot.engine === 'js',
      onBegin: () => {
        this.#vitals?.drains();
        this.#channel.send({ type: 'draining' });
      },
    });
    this.#table = new ListenerTable(boot.listeners);
    this.#listen = new ListenHook(this.#channel, this.#table, boot.backlog, {
      onListen: (server: Server) => this.#serverListens(server),
      onClose: (server: Server) => this.#drain.serverCloses(server),
    });
  }

  install(): void {
    this.#tagOutput();
    this.#channel.send({ type: 'hello', pid: process.pid });
    this.#vitals?.start();
    this.#connections.install();
    this.#listen.install();
    this.#hookUdpSockets();
    new LastWords(this.#channel, () => this.#served).install();
    watchStopSignals(this.#boot.stopSignals ?? ['SIGTERM', 'SIGQUIT'], {
      onSignal: () => this.#drain.stopSignalled(),
      onUnhandled: (signal) => void this.#drain.begin(signal),
    });
    warnOfCluster(this.#boot.workers);
    this.#offerRuntime();
  }

  #openChannel(name: string): Channel {
    const events: ChannelEvents = {
      onDelivery: (delivery) => this.#delivered(delivery),
      onClose: () => this.#managerGone(),
    };
    const fd = /^fd:(\d+)$/.exec(name)?.[1];
    if (fd === undefined) {
      const { IpcChannel } = require('./ipcChannel') as typeof import('./ipcChannel');
      return new IpcChannel(events);
    }
    const { loadBinding } = require('../engine/binding') as typeof import('../engine/binding');
    const { NativeChannel } = require('./nativeChannel') as typeof import('./nativeChannel');
    const { binding, reason } = loadBinding();
    if (binding === null) throw new Error(`prefork: the addon does not load in a worker: ${reason}`);
    for (const inherited of [Number(fd), ...this.#boot.listeners.map((l) => l.fd)])
      binding.setCloexec(inherited);
    return new NativeChannel(binding, Number(fd), events);
  }

  #tagOutput(): void {
    const { tagOutput: format } = this.#boot;
    if (format === undefined) return;
    const { tagOutput } = require('./taggedOutput') as typeof import('./taggedOutput');
    tagOutput(format, { ...identity(), pid: process.pid });
  }

  #boundMemory(): MemoryBound | null {
    const { maxMemory: limit } = this.#boot;
    if (limit === undefined) return null;
    const { MemoryBound } = require('./memoryBound') as typeof import('./memoryBound');
    return new MemoryBound({
      limit,
      expected: () => this.#connections.expected,
      retire: () => this.#requests.retire('max-memory'),
      leave: () => this.#leaveByItself(),
    });
  }

  /** As on a stop signal of the manager's: the program's own handler is asked, where it has one. */
  #leaveByItself(): void {
    // Nobody would come in its place: the next manager replaces it.
    if (this.#seeksManager) return;
    const [signal = 'SIGTERM'] = this.#boot.stopSignals ?? [];
    process.emit(signal, signal);
  }

  #openRow(): Vitals | null {
    const { scoreboard: row, ready } = this.#boot;
    if (row === undefined) return null;
    const page = row.fd === null ? null : mapPage(row.fd);
    // The manager looks at the page, and nowhere else.
    if (row.fd !== null && page === null) return null;
    // A free port, wherever SIGUSR1 opens the inspector: those of several workers would be in each other's way.
    if (row.inspect && process.debugPort === DEFAULT_DEBUG_PORT) process.debugPort = 0;
    const { Vitals } = require('./vitals') as typeof import('./vitals');
    return new Vitals({
      boot: row,
      page,
      report: (values) => void this.#channel.send({ type: 'row', values }),
      servesAtOnce: ready === 'start',
    });
  }

  /** Most workers have no UDP socket, and need not load what it takes. A preloaded program may have one already. */
  #hookUdpSockets(): void {
    const hook = () => {
      unsubscribe('udp.socket', hook);
      const { BindHook } = require('./bind') as typeof import('./bind');
      new BindHook(this.#channel, this.#table, {
        nextSeq: () => this.#listen.nextSeq(),
        onBind: (socket: UdpSocket) => this.#udpBound(socket),
      }).install();
    };
    if (getRuntime() === undefined) subscribe('udp.socket', hook);
    else hook();
  }

  #managerGone(): void {
    const { keep } = this.#boot;
    if (keep === undefined) void this.#drain.begin('manager gone', true);
    else if (!this.#drain.hasBegun) this.#seekManager(keep);
  }

  #seekManager(keep: NonNullable<WorkerBoot['keep']>): void {
    this.#seeksManager = true;
    const { Rejoin } = require('./rejoin') as typeof import('./rejoin');
    const { loadBinding } = require('../engine/binding') as typeof import('../engine/binding');
    new Rejoin({
      // Those that are kept have a native channel.
      binding: loadBinding().binding!,
      keep,
      worker: identity(),
      listeners: () => this.#table.all(),
      joined: (fd) => {
        this.#seeksManager = false;
        (this.#channel as NativeChannel).reconnect(fd);
      },
      dismissed: () => void this.#drain.begin('another manager serves', true),
    }).begin();
  }

  #delivered(delivery: Delivery): void {
    const { message, fd, handle } = delivery;
    const socket = fd === undefined ? handle : { fd };
    switch (message.type) {
      case 'adopt':
        if (socket !== undefined) this.#listen.adopt(message, socket);
        break;
      case 'release':
        this.#listen.release(message);
        break;
      case 'reopenLogs':
        this.#takeNewLog(message, fd);
        break;
      case 'poolStops':
        this.#drain.poolStops();
        break;
      case 'registry':
        void this.#registry?.report(message.seq);
        break;
      case 'user':
        this.#program.deliver(message.data);
        break;
      case 'listener':
        // The answer to a question that was given up.
        discard(delivery);
    }
  }

  #takeNewLog(message: Extract<ManagerMessage, { type: 'reopenLogs' }>, fd: number | undefined): void {
    const { takeNewLog } = require('./logFile') as typeof import('./logFile');
    takeNewLog(message, fd);
    for (const callback of this.#reopenLogs) callback();
  }

  #serves(): void {
    this.#served = true;
    this.#vitals?.serves();
    this.#memory?.serves();
  }

  #serverListens(server: Server): void {
    this.#serves();
    this.#drain.serverListens(server);
  }

  #udpBound(socket: UdpSocket): void {
    this.#serves();
    this.#drain.udpBound(socket);
  }

  #ready(): boolean {
    this.#serves();
    return this.#channel.send({ type: 'ready' });
  }

  /** Before it ends it tells its counters once more. */
  #offerMetrics(registry: MetricsRegistry): void {
    if (this.#registry === null) {
      const { RegistryReporter } = require('./registry') as typeof import('./registry');
      const reporter = new RegistryReporter(this.#channel);
      this.#registry = reporter;
      this.#drain.onDrain(async ({ drained }) => {
        await drained;
        await reporter.report(0);
      });
    }
    this.#registry.offer(registry);
  }

  #offerRuntime(): void {
    setRuntime({
      ...identity(),
      ready: () => this.#ready(),
      retire: (reason) => this.#requests.retire(reason),
      countRequest: (count) => this.#requests.count(count),
      setBusy: (busy) => this.#vitals?.setBusy(busy),
      tick: () => this.#vitals?.tick(),
      onDrain: (callback) => this.#drain.onDrain(callback),
      onReopenLogs: (callback) => void this.#reopenLogs.push(callback),
      offerMetrics: (registry) => this.#offerMetrics(registry),
    });
  }
}

/** The descriptor is of no more use afterwards. null: there is no address space left. */
function mapPage(fd: number): ArrayBuffer | null {
  const { loadBinding } = require('../engine/binding') as typeof import('../engine/binding');
  const { PAGE_BYTES } = require('../scoreboard/layout') as typeof import('../scoreboard/layout');
  const binding = loadBinding().binding!;
  const page = binding.mmap(fd, 0, PAGE_BYTES, true);
  binding.close(fd);
  return typeof page === 'number' ? null : page;
}

function identity(): { slot: number; workerId: number; generation: number } {
  const variable = (name: string) => Number(process.env[name] ?? 0);
  return {
    slot: variable('PREFORK_SLOT'),
    workerId: variable('PREFORK_WORKER_ID'),
    generation: variable('PREFORK_GENERATION'),
  };
}
