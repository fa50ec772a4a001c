/** Puts the parts of the worker's side together. Loaded by the hook, in workers of prefork's only. */
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server } from 'node:net';
import { loadBinding } from '../engine/binding';
import { BindHook } from './bind';
import type { Channel, ChannelEvents, Delivery } from './channel';
import { warnOfCluster } from './clusterWarning';
import { Connections } from './connections';
import { Drain } from './drain';
import { IpcChannel } from './ipcChannel';
import { LastWords } from './lastWords';
import { discard, ListenHook } from './listen';
import { ListenerTable } from './listenerTable';
import { NativeChannel } from './nativeChannel';
import { ProgramIpc } from './programIpc';
import type { WorkerBoot } from './protocol';
import { RequestCounter } from './requests';
import { setRuntime } from './runtime';
import { watchStopSignals } from './signals';

const PROTOCOL_VERSION = 1;

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
  readonly #listen: ListenHook;
  readonly #bind: BindHook;
  readonly #reopenLogs: (() => void)[] = [];
  #served = false;

  constructor(boot: WorkerBoot, channelName: string) {
    this.#boot = boot;
    this.#channel = this.#openChannel(channelName);
    this.#program = new ProgramIpc(this.#channel, boot.engine);
    this.#requests = new RequestCounter(this.#channel, boot.maxRequests);
    this.#connections = new Connections({
      onStream: (connection) => this.#drain.streamComes(connection),
      onStreamsDone: (connection) => this.#drain.streamsDone(connection),
      onServed: () => this.#requests.count(1),
      onEmpty: () => this.#drain.connectionsGone(),
    });
    this.#drain = new Drain({
      connections: this.#connections,
      lingerMs: boot.lingerMs,
      stopAccepting: (server) => this.#listen.stopAccepting(server),
      onBegin: () => this.#channel.send({ type: 'draining' }),
    });
    const table = new ListenerTable(boot.listeners);
    this.#listen = new ListenHook(this.#channel, table, boot.backlog, {
      onListen: (server: Server) => this.#serverListens(server),
      onClose: (server: Server) => this.#drain.serverCloses(server),
    });
    this.#bind = new BindHook(this.#channel, table, {
      nextSeq: () => this.#listen.nextSeq(),
      onBind: (socket: UdpSocket) => this.#udpBound(socket),
    });
  }

  install(): void {
    this.#channel.send({ type: 'hello', pid: process.pid });
    this.#connections.install();
    this.#listen.install();
    this.#bind.install();
    new LastWords(this.#channel, () => this.#served).install();
    watchStopSignals({
      onSignal: () => this.#drain.stopSignalled(),
      onUnhandled: (signal) => void this.#drain.begin(signal),
    });
    warnOfCluster(this.#boot.workers);
    this.#offerRuntime();
  }

  #openChannel(name: string): Channel {
    const events: ChannelEvents = {
      onDelivery: (delivery) => this.#delivered(delivery),
      onClose: () => void this.#drain.begin('manager gone', true),
    };
    const fd = /^fd:(\d+)$/.exec(name)?.[1];
    if (fd === undefined) return new IpcChannel(events);
    const { binding, reason } = loadBinding();
    if (binding === null) throw new Error(`prefork: the addon does not load in a worker: ${reason}`);
    for (const inherited of [Number(fd), ...this.#boot.listeners.map((l) => l.fd)])
      binding.setCloexec(inherited);
    return new NativeChannel(binding, Number(fd), events);
  }

  #delivered(delivery: Delivery): void {
    const { message, fd, handle } = delivery;
    const socket = fd === undefined ? handle : { fd };
    switch (message.type) {
      case 'adopt':
        if (socket !== undefined && !this.#listen.adopt(message, socket)) discard(delivery);
        break;
      case 'release':
        this.#listen.release(message);
        break;
      case 'reopenLogs':
        for (const callback of this.#reopenLogs) callback();
        break;
      case 'poolStops':
        this.#drain.poolStops();
        break;
      case 'user':
        this.#program.deliver(message.data);
        break;
      case 'listener':
        // The answer to a question that was given up.
        discard(delivery);
    }
  }

  #serverListens(server: Server): void {
    this.#served = true;
    this.#drain.serverListens(server);
  }

  #udpBound(socket: UdpSocket): void {
    this.#served = true;
    this.#drain.udpBound(socket);
  }

  #offerRuntime(): void {
    const variable = (name: string) => Number(process.env[name] ?? 0);
    setRuntime({
      slot: variable('PREFORK_SLOT'),
      workerId: variable('PREFORK_WORKER_ID'),
      generation: variable('PREFORK_GENERATION'),
      ready: () => {
        this.#served = true;
        this.#channel.send({ type: 'ready' });
      },
      retire: (reason) => this.#requests.retire(reason),
      countRequest: (count) => this.#requests.count(count),
      onDrain: (callback) => this.#drain.onDrain(callback),
      onReopenLogs: (callback) => void this.#reopenLogs.push(callback),
    });
  }
}
