/**
 * Where workers come in whose manager was killed (`--on-manager-death keep`): over the control socket each gets a new
 * channel, through which it hands over its listeners. Open until the new manager begins to run.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { KeptWorker } from '../core/kept';
import { MAX_WORKERS } from '../core/policy';
import type { Binding, NativePoller } from '../engine/binding';
import { nowMs } from '../engine/clock';
import { MAX_MESSAGE_BYTES, type RejoinMessage } from '../worker/protocol';
import { isWorker } from './keep';
import type { Listeners } from './listeners';

/** They look for a manager several times a second; one whose event loop stands still may miss it. */
const MAX_WAIT_MS = 10_000;
const LOOK_MS = 20;

/** What a worker says of itself when it comes. */
export interface Claim {
  readonly slot: number;
  readonly workerId: number;
  readonly generation: number;
}

/** A worker that has come in, with the descriptors that stand for it. */
export interface Guest extends KeptWorker {
  readonly pidfd: number;
  readonly channel: number;
}

interface Arrival extends Omit<Guest, 'listening'> {
  /** null: it has not said all yet */
  listening: readonly string[] | null;
}

export class Lobby {
  readonly #binding: Binding;
  readonly #listeners: Listeners;
  readonly #poller: NativePoller;
  readonly #arrivals = new Map<number, Arrival>();
  #open = true;

  /** Throws where there is no epoll instance left. */
  constructor(binding: Binding, listeners: Listeners) {
    this.#binding = binding;
    this.#listeners = listeners;
    const poller = binding.createPoller((ids) => {
      for (const id of ids) this.#receive(id);
    });
    if (typeof poller === 'number') throw new Error(`cannot wait for workers: errno ${-poller}`);
    this.#poller = poller;
  }

  /** Somebody at the other end of `connection`, which is ours to close, claims to be that worker. */
  enter(connection: number, claim: Claim): void {
    const arrival = this.#open && isPossible(claim) ? this.#welcome(connection, claim) : null;
    if (arrival === null) this.#answer(connection, false, []);
    this.#binding.close(connection);
  }

  /** Waits until those have come and have handed over what they have, or have ended, and closes. */
  async gather(expected: readonly number[]): Promise<readonly Guest[]> {
    const untilMs = nowMs() + MAX_WAIT_MS;
    const isMissing = (pid: number): boolean => {
      const arrival = this.#arrivalOf(pid);
      return (arrival === undefined || arrival.listening === null) && isWorker(pid);
    };
    while (expected.some(isMissing) && nowMs() < untilMs) await pause(LOOK_MS);
    this.#open = false;
    const guests: Guest[] = [];
    for (const arrival of this.#arrivals.values()) {
      const { listening } = arrival;
      if (listening === null) this.#leave(arrival);
      else guests.push({ ...arrival, listening });
    }
    this.#poller.close();
    return guests;
  }

  #arrivalOf(pid: number): Arrival | undefined {
    return [...this.#arrivals.values()].find((arrival) => arrival.pid === pid);
  }

  #welcome(connection: number, { slot, workerId, generation }: Claim): Arrival | null {
    const binding = this.#binding;
    const peer = binding.peercred(connection);
    // 0: it is in a pid namespace that cannot be seen from here.
    if (this.#arrivals.has(workerId) || typeof peer === 'number' || peer.pid <= 0) return null;
    const pidfd = binding.pidfdOpen(peer.pid);
    const pair = pidfd < 0 ? pidfd : binding.channelPair();
    if (typeof pair === 'number') {
      if (pidfd >= 0) binding.close(pidfd);
      return null;
    }
    const [channel, theirs] = pair;
    const arrival = { slot, workerId, generation, pid: peer.pid, pidfd, channel, listening: null };
    this.#arrivals.set(workerId, arrival);
    const sent = this.#answer(connection, true, [theirs]);
    binding.close(theirs);
    if (sent < 0 || this.#poller.add(channel, workerId) < 0) this.#leave(arrival);
    return arrival;
  }

  #answer(connection: number, join: boolean, fds: readonly number[]): number {
    const line = `${JSON.stringify({ v: 1, id: 1, ok: true, result: { join } })}\n`;
    return this.#binding.sendMessage(connection, Buffer.from(line), fds);
  }

  #receive(workerId: number): void {
    for (;;) {
      const arrival = this.#arrivals.get(workerId);
      if (arrival === undefined || arrival.listening !== null) return;
      const packet = this.#binding.recvMessage(arrival.channel, MAX_MESSAGE_BYTES, 0);
      if (packet === EAGAIN || packet === EINTR) return;
      if (typeof packet === 'number') return this.#leave(arrival);
      const [fd, ...surplus] = packet.fds;
      for (const extra of surplus) this.#binding.close(extra);
      this.#onMessage(arrival, JSON.parse(packet.data.toString()) as RejoinMessage, fd ?? -1);
    }
  }

  #onMessage(arrival: Arrival, message: RejoinMessage, fd: number): void {
    if (message.type === 'rejoined') {
      arrival.listening = message.listening;
      this.#poller.remove(arrival.channel);
    } else if (message.type === 'handOver' && this.#take(arrival, message, fd)) return;
    if (fd >= 0) this.#binding.close(fd);
  }

  /** false: it is no socket that is missing here. */
  #take({ slot }: Arrival, message: Extract<RejoinMessage, { type: 'handOver' }>, fd: number): boolean {
    const name = fd < 0 ? fd : this.#binding.sockname(fd);
    if (typeof name === 'number' || (!name.listening && name.type !== 'dgram')) return false;
    return this.#listeners.receive(message, { fd, address: name.address, port: name.port }, slot);
  }

  #leave({ workerId, pidfd, channel }: Arrival): void {
    this.#arrivals.delete(workerId);
    this.#poller.remove(channel);
    this.#binding.close(channel);
    this.#binding.close(pidfd);
  }
}

const EAGAIN = -11;
const EINTR = -4;

function isPossible({ slot, workerId, generation }: Claim): boolean {
  return slot < MAX_WORKERS && workerId > 0 && generation > 0;
}
