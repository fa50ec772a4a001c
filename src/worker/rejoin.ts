/**
 * After the manager's death, with `--on-manager-death keep`: looks for a new one at the control socket, hands it the
 * listeners, and has a channel again.
 */
import { connect, type Socket } from 'node:net';
import type { Binding, NativePoller } from '../engine/binding';
import type { Listener } from './listenerTable';
import { MAX_MESSAGE_BYTES, type RejoinMessage, type WorkerBoot } from './protocol';

/** Between two looks, and as much again by chance. */
const LOOK_MS = 150;
const RETRY_MS = 10;
const EAGAIN = -11;
const EINTR = -4;

export interface RejoinDependencies {
  readonly binding: Binding;
  readonly keep: NonNullable<WorkerBoot['keep']>;
  readonly worker: { readonly slot: number; readonly workerId: number; readonly generation: number };
  /** those that are open here */
  listeners(): readonly Listener[];
  /** a manager is there, and `fd` is the channel to it */
  joined(fd: number): void;
  /** a manager is there, and does without this worker */
  dismissed(): void;
}

export class Rejoin {
  readonly #deps: RejoinDependencies;

  constructor(deps: RejoinDependencies) {
    this.#deps = deps;
  }

  /** Goes on until a manager answers. Keeps nobody alive. */
  begin(): void {
    setTimeout(() => this.#look(), LOOK_MS * (1 + Math.random())).unref();
  }

  #look(): void {
    const socket = connect({ path: this.#deps.keep.control });
    // The answer comes with a descriptor, which Node would let go.
    socket.pause();
    socket.unref();
    socket.once('error', () => {
      socket.destroy();
      this.begin();
    });
    socket.once('connect', () => this.#ask(socket));
  }

  #ask(socket: Socket): void {
    const { binding, worker } = this.#deps;
    socket.removeAllListeners('error').on('error', () => socket.destroy());
    socket.write(`${JSON.stringify({ v: 1, id: 1, do: 'rejoin', ...worker })}\n`);
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const poller: NativePoller | number = binding.createPoller(() => answered());
    const leave = (): void => {
      if (typeof poller !== 'number') poller.close();
      socket.destroy();
    };
    const answered = (): void => {
      const packet = binding.recvMessage(fd, MAX_MESSAGE_BYTES, 0);
      if (packet === EAGAIN || packet === EINTR) return;
      leave();
      this.#onAnswer(packet);
    };
    if (typeof poller === 'number' || poller.add(fd, 0) < 0) {
      leave();
      this.begin();
    } else poller.unref();
  }

  #onAnswer(packet: ReturnType<Binding['recvMessage']>): void {
    const [channel, ...surplus] = typeof packet === 'number' ? [] : packet.fds;
    for (const fd of surplus) this.#deps.binding.close(fd);
    const verdict = typeof packet === 'number' ? null : verdictOf(packet.data);
    if (verdict === true && channel !== undefined) this.#introduce(channel, this.#introduction());
    else {
      if (channel !== undefined) this.#deps.binding.close(channel);
      // Busy, of another version, or gone again: perhaps the next time.
      if (verdict === false) this.#deps.dismissed();
      else this.begin();
    }
  }

  #introduction(): [RejoinMessage, number[]][] {
    const open = this.#deps.listeners();
    const { reusePort } = this.#deps.keep;
    const packets: [RejoinMessage, number[]][] = [];
    for (const { key, kind, address, port, boundPort, fromBind, socket } of open) {
      if (socket === undefined) continue;
      const facts = { key, kind, address, port, boundPort, fromBind, reusePort };
      packets.push([{ type: 'handOver', ...facts }, [socket.fd]]);
    }
    const listening = open.filter(({ owner }) => owner !== undefined).map(({ key }) => key);
    packets.push([{ type: 'rejoined', listening }, []]);
    return packets;
  }

  #introduce(channel: number, packets: [RejoinMessage, number[]][]): void {
    const { binding } = this.#deps;
    for (let packet = packets[0]; packet !== undefined; packet = packets[0]) {
      const [message, fds] = packet;
      const sent = binding.sendMessage(channel, Buffer.from(JSON.stringify(message)), fds);
      if (sent === EAGAIN) {
        setTimeout(() => this.#introduce(channel, packets), RETRY_MS);
        return;
      }
      if (sent < 0 && sent !== EINTR) {
        binding.close(channel);
        this.begin();
        return;
      }
      if (sent >= 0) packets.shift();
    }
    this.#deps.joined(channel);
  }
}

/** Whether the manager wants this worker; null: it did not say. */
function verdictOf(data: Buffer): boolean | null {
  try {
    const { ok, result } = JSON.parse(data.toString()) as { ok?: boolean; result?: { join?: unknown } };
    return ok === true && typeof result?.join === 'boolean' ? result.join : null;
  } catch {
    return null;
  }
}
