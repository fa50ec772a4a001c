/** What the live page is told, as server-sent events: the status once a second, and what happens when it does. */
import type { ServerResponse } from 'node:http';
import type { Status } from '../control/protocol';
import type { Command } from '../core/command';
import type { ManagerObserver } from '../manager/manager';
import { messageOf } from '../manager/messages';

/** Pages at a time; a further one is told to come again. */
export const MAX_PAGES = 8;
const EVERY_MS = 1000;
/** One that does not read is closed. */
const MAX_UNREAD_BYTES = 1_048_576;
/** Kept for a page that comes. */
const MAX_ENTRIES = 50;

interface Entry {
  readonly at: number;
  readonly level: string;
  readonly text: string;
}

export class Live implements ManagerObserver {
  readonly #status: () => Status | null;
  readonly #pages = new Set<ServerResponse>();
  readonly #entries: Entry[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(status: () => Status | null) {
    this.#status = status;
  }

  /** false: there are enough. */
  open(response: ServerResponse): boolean {
    if (this.#pages.size >= MAX_PAGES) return false;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    this.#pages.add(response);
    response.once('close', () => this.#left(response));
    this.#send(response, 'past', this.#entries);
    this.#send(response, 'status', this.#status());
    this.#timer ??= setInterval(() => this.#tell('status', this.#status()), EVERY_MS).unref();
    return true;
  }

  command(command: Command): void {
    if (command.type !== 'log' || command.level === 'debug') return;
    const entry = { at: Date.now(), level: command.level, text: messageOf(command.entry) };
    this.#entries.push(entry);
    if (this.#entries.length > MAX_ENTRIES) this.#entries.shift();
    this.#tell('entry', entry);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const response of this.#pages) response.destroy();
  }

  #left(response: ServerResponse): void {
    this.#pages.delete(response);
    if (this.#pages.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tell(event: string, data: unknown): void {
    for (const response of this.#pages) this.#send(response, event, data);
  }

  #send(response: ServerResponse, event: string, data: unknown): void {
    if (data === null) return;
    response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
  }
}
