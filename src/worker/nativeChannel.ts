/** The channel of the native engine: a SOCK_SEQPACKET descriptor, one JSON packet a message. */
import type { Binding, NativePoller } from '../engine/binding';
import type { AnswerCallback, Channel, ChannelEvents, Delivery, ListenRequest } from './channel';
import { MAX_MESSAGE_BYTES, type ManagerMessage, type WorkerMessage } from './protocol';

/** The manager answers in microseconds; one that is stopped (SIGSTOP) or re-executing itself takes longer. */
const ASK_MS = 10_000;
const RETRY_MS = 10;
const SEND_NOW_ATTEMPTS = 50;
const MESSAGES_A_TURN = 64;

const EINTR = -4;
const EAGAIN = -11;

export class NativeChannel implements Channel {
  readonly #binding: Binding;
  #fd: number;
  readonly #events: ChannelEvents;
  #poller: NativePoller;
  #isRef = false;
  /** received while waiting for an answer */
  readonly #held: Delivery[] = [];
  /** not taken by the kernel yet */
  readonly #unsent: Buffer[] = [];
  #open = true;

  constructor(binding: Binding, fd: number, events: ChannelEvents) {
    this.#binding = binding;
    this.#fd = fd;
    this.#events = events;
    this.#poller = this.#watch();
  }

  /** Goes on over another channel, after the first was closed from the other side. */
  reconnect(fd: number): void {
    this.#fd = fd;
    this.#open = true;
    this.#poller = this.#watch();
    this.setRef(this.#isRef);
  }

  #watch(): NativePoller {
    const poller = this.#binding.createPoller(() => this.#receive());
    if (typeof poller === 'number')
      throw new Error(`cannot watch the channel to the manager: errno ${-poller}`);
    const added = poller.add(this.#fd, 0);
    if (added < 0) throw new Error(`cannot watch the channel to the manager: errno ${-added}`);
    poller.unref();
    return poller;
  }

  send(message: WorkerMessage): boolean {
    const packet = encode(message);
    if (packet === null || !this.#open) return false;
    this.#unsent.push(packet);
    this.#flush();
    if (this.#unsent.length > 0) setTimeout(() => this.#flushLater(), RETRY_MS);
    return this.#open;
  }

  sendNow(message: WorkerMessage): boolean {
    const packet = encode(message);
    if (packet === null || !this.#open) return false;
    this.#unsent.push(packet);
    for (let attempt = 0; attempt < SEND_NOW_ATTEMPTS; attempt++) {
      this.#flush();
      if (this.#unsent.length === 0) return this.#open;
      sleep(RETRY_MS);
    }
    return false;
  }

  ask(request: ListenRequest, callback: AnswerCallback): void {
    if (!this.sendNow(request)) return callback(undefined);
    const deadline = performance.now() + ASK_MS;
    for (;;) {
      const left = Math.ceil(deadline - performance.now());
      const delivery = left > 0 ? this.#read(left) : null;
      if (delivery === EINTR) continue;
      if (delivery === null || typeof delivery === 'number') return callback(undefined);
      if (delivery.message.type === 'listener' && delivery.message.seq === request.seq)
        return callback(delivery);
      if (this.#held.push(delivery) === 1) setImmediate(() => this.#deliverHeld());
    }
  }

  setRef(ref: boolean): void {
    this.#isRef = ref;
    if (!this.#open) return;
    if (ref) this.#poller.ref();
    else this.#poller.unref();
  }

  #receive(): void {
    this.#deliverHeld();
    for (let i = 0; i < MESSAGES_A_TURN && this.#open; i++) {
      const delivery = this.#read(0);
      if (delivery === EAGAIN) return;
      if (delivery === EINTR) continue;
      if (delivery === null || typeof delivery === 'number') return this.#close();
      this.#events.onDelivery(delivery);
    }
  }

  #deliverHeld(): void {
    for (const delivery of this.#held.splice(0)) this.#events.onDelivery(delivery);
  }

  /** null: end of file. A negative errno otherwise. */
  #read(timeoutMs: number): Delivery | null | number {
    const received = this.#binding.recvMessage(this.#fd, MAX_MESSAGE_BYTES, timeoutMs);
    if (typeof received === 'number') return received === 0 ? null : received;
    const message = JSON.parse(received.data.toString()) as ManagerMessage;
    const [fd, ...surplus] = received.fds;
    for (const extra of surplus) this.#binding.close(extra);
    return fd === undefined ? { message } : { message, fd };
  }

  #flushLater(): void {
    this.#flush();
    if (this.#unsent.length > 0) setTimeout(() => this.#flushLater(), RETRY_MS);
  }

  /** A packet that fails for another reason than a full queue is dropped: its successors may do better. */
  #flush(): void {
    for (let packet = this.#unsent[0]; packet !== undefined; packet = this.#unsent[0]) {
      const sent = this.#binding.sendMessage(this.#fd, packet, []);
      if (sent === EAGAIN) return;
      if (sent !== EINTR) this.#unsent.shift();
    }
  }

  #close(): void {
    this.#open = false;
    this.#unsent.length = 0;
    this.#poller.close();
    this.#binding.close(this.#fd);
    this.#events.onClose();
  }
}

function encode(message: WorkerMessage): Buffer | null {
  const packet = Buffer.from(JSON.stringify(message));
  return packet.length > MAX_MESSAGE_BYTES ? null : packet;
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
