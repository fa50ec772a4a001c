/** The worker's end of the line to the manager: one interface over both engines. */
import type { ManagerMessage, WorkerMessage } from './protocol';

/** A bound or listening handle of net's or dgram's, as child_process passes it. */
export interface NetHandle {
  readonly fd: number;
  close(): void;
}

/** A message of the manager's with the socket that came with it: a descriptor (native) or a handle (js). */
export interface Delivery {
  readonly message: ManagerMessage;
  readonly fd?: number;
  readonly handle?: NetHandle;
}

export type ListenRequest = Extract<WorkerMessage, { type: 'listen' }>;

/** undefined: the manager is gone or did not answer in time. */
export type AnswerCallback = (answer: Delivery | undefined) => void;

export interface ChannelEvents {
  onDelivery(delivery: Delivery): void;
  /** the manager is gone */
  onClose(): void;
}

export interface Channel {
  /** Queues or sends; never throws. A message that is too long or comes after the manager is gone is dropped: false. */
  send(message: WorkerMessage): boolean;
  /** As send(), but has handed it to the kernel when it returns, as far as half a second allows: for the exit. */
  sendNow(message: WorkerMessage): boolean;
  /** Sends, and calls back with the answer of the same `seq`: before it returns (native) or later, keeping the loop alive (js). */
  ask(request: ListenRequest, callback: AnswerCallback): void;
  /** Whether an open channel keeps the event loop alive; it does not from the start. */
  setRef(ref: boolean): void;
}
