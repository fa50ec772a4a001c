/** The channel of the js engine: child_process's IPC, with the program's own use of it kept apart. */
import type { AnswerCallback, Channel, ChannelEvents, ListenRequest, NetHandle } from './channel';
import { emitToProgram, intercept } from './processEvents';
import { MAX_MESSAGE_BYTES, type ManagerMessage, type WorkerMessage } from './protocol';

/** What child_process counts references to the channel with; ref() and unref() would overrule the program's listeners. */
interface CountedChannel {
  refCounted?(): void;
  unrefCounted?(): void;
  ref(): void;
  unref(): void;
}

type Send = (
  message: unknown,
  handle: undefined,
  options: object,
  callback: (error: Error | null) => void,
) => boolean;

export class IpcChannel implements Channel {
  readonly #send: Send;
  readonly #events: ChannelEvents;
  readonly #asked = new Map<number, AnswerCallback>();

  constructor(events: ChannelEvents) {
    if (process.send === undefined) throw new Error('the channel to the manager is missing');
    this.#send = process.send.bind(process) as Send;
    this.#events = events;
    intercept('message', (message, handle) => {
      this.#receive(message as ManagerMessage, handle as NetHandle | undefined);
      return true;
    });
    intercept('disconnect', () => {
      for (const callback of this.#asked.values()) callback(undefined);
      this.#asked.clear();
      emitToProgram('disconnect');
      events.onClose();
      return true;
    });
    // Without a listener Node keeps messages back; a listener holds a reference, which is given back.
    process.on('message', () => {});
    this.setRef(false);
  }

  send(message: WorkerMessage): boolean {
    if (!process.connected || JSON.stringify(message).length > MAX_MESSAGE_BYTES) return false;
    // An error (the manager is gone) is followed by 'disconnect'.
    this.#send(message, undefined, {}, () => {});
    return true;
  }

  /** libuv writes at once what the pipe has room for. */
  sendNow(message: WorkerMessage): boolean {
    return this.send(message);
  }

  ask(request: ListenRequest, callback: AnswerCallback): void {
    if (!this.send(request)) return callback(undefined);
    this.#asked.set(request.seq, callback);
    this.setRef(true);
  }

  setRef(ref: boolean): void {
    const channel = process.channel as unknown as CountedChannel | undefined;
    if (channel === undefined || channel === null) return;
    if (ref) (channel.refCounted ?? channel.ref).call(channel);
    else (channel.unrefCounted ?? channel.unref).call(channel);
  }

  #receive(message: ManagerMessage, handle: NetHandle | undefined): void {
    const delivery = handle === undefined || handle === null ? { message } : { message, handle };
    const callback = message.type === 'listener' ? this.#asked.get(message.seq) : undefined;
    if (callback === undefined || message.type !== 'listener') return this.#events.onDelivery(delivery);
    this.#asked.delete(message.seq);
    this.setRef(false);
    callback(delivery);
  }
}
