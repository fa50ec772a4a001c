/** Where in the program its handles, requests and descriptors were made: what a refusal to fork names. */
import { type AsyncHook, createHook, executionAsyncId, triggerAsyncId } from 'node:async_hooks';
import fs from 'node:fs';
import { readlinkSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import inspector from 'node:inspector';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, sep } from 'node:path';
import { replace } from './replace';

const FRAMES = 50;

/** Too many, and what follows an await has the program's frame on its stack anyway. */
const UNTRACKED = 'PROMISE';
/** Not handles or requests: kept for the place alone, from which others are made later. */
const ONLY_PLACES = /^(TickObject|Immediate|Timeout|Microtask|bound-anonymous-fn)$/;

interface Made {
  readonly type: string;
  readonly resource: WeakRef<object>;
  readonly place: string | null;
}

/** A resource that is still there. */
export interface LiveResource {
  readonly type: string;
  /** `file:line:column`, null where no frame of the program's was on the stack */
  readonly place: string | null;
  /** the descriptor, for a handle that has one */
  readonly fd: number | null;
}

export class Origins {
  readonly #made = new Map<number, Made>();
  readonly #opened = new Map<number, { target: string; place: string | null }>();
  readonly #sessions = new Map<object, string | null>();
  #hook: AsyncHook | undefined;
  #active = false;

  /** From now on the places are noted; costs some microseconds for each resource made. */
  start(): void {
    if (this.#hook !== undefined) return;
    this.#active = true;
    this.#hook = createHook({
      init: (id, type, trigger, resource) => {
        if (type === UNTRACKED) return;
        const place = this.#here(trigger);
        this.#made.set(id, { type, resource: new WeakRef(resource), place });
      },
      destroy: (id) => void this.#made.delete(id),
    }).enable();
    this.#watchOpen();
    this.#watchSessions();
  }

  /** Asynchronous hooks slow promises down: not for what serves. */
  stop(): void {
    this.#hook?.disable();
    this.#active = false;
    this.#made.clear();
    this.#opened.clear();
    this.#sessions.clear();
  }

  /** Handles and requests made since `start()` that have not been destroyed. */
  live(): LiveResource[] {
    const list: LiveResource[] = [];
    for (const { type, resource, place } of this.#made.values()) {
      if (ONLY_PLACES.test(type)) continue;
      const object = resource.deref();
      if (object !== undefined) list.push({ type, place, fd: descriptorOf(object) });
    }
    return list;
  }

  /** Where each connected session of the inspector was connected. */
  sessions(): (string | null)[] {
    return [...this.#sessions.values()];
  }

  /** Where a descriptor was opened; null where that is not known. */
  ofDescriptor(fd: number): string | null {
    const opened = this.#opened.get(fd);
    if (opened !== undefined && opened.target === targetOf(fd)) return opened.place;
    return this.live().find((resource) => resource.fd === fd && resource.place !== null)?.place ?? null;
  }

  /** Node makes some things later than it is told to: then the place is that of what led to it. */
  #here(cause: number): string | null {
    return (
      placeInProgram() ?? this.#made.get(executionAsyncId())?.place ?? this.#made.get(cause)?.place ?? null
    );
  }

  /** They are no asynchronous resources. */
  #watchSessions(): void {
    const prototype = inspector.Session.prototype;
    const { connect, disconnect } = prototype;
    const sessions = this.#sessions;
    const here = () => (this.#active ? this.#here(triggerAsyncId()) : null);
    replace(prototype, 'connect', function (this: unknown, ...args: unknown[]) {
      Reflect.apply(connect, this, args as []);
      sessions.set(this as object, here());
    });
    replace(prototype, 'disconnect', function (this: unknown, ...args: unknown[]) {
      Reflect.apply(disconnect, this, args as []);
      sessions.delete(this as object);
    });
  }

  /** Calls without a handle of their own. Streams open through them too. */
  #watchOpen(): void {
    const { openSync, open } = fs;
    const note = (fd: number, place: string | null) => this.#opened.set(fd, { target: targetOf(fd), place });
    const active = () => this.#active;
    const here = () => this.#here(triggerAsyncId());
    replace(fs, 'openSync', function (this: unknown, ...args: unknown[]) {
      const fd = Reflect.apply(openSync, this, args as never) as number;
      if (active()) note(fd, here());
      return fd;
    });
    replace(fs, 'open', function (this: unknown, ...args: unknown[]) {
      const callback = args.at(-1);
      if (typeof callback === 'function' && active()) {
        const place = here();
        args[args.length - 1] = (error: unknown, fd: number) => {
          if (!error) note(fd, place);
          Reflect.apply(callback, undefined, error ? [error] : [null, fd]);
        };
      }
      return Reflect.apply(open, this, args as never);
    });
    const openHandle = fs.promises.open;
    replace(fs.promises, 'open', async function (this: unknown, ...args: unknown[]) {
      const place = active() ? here() : null;
      const handle = (await Reflect.apply(openHandle, this, args as never)) as FileHandle;
      if (active()) note(handle.fd, place);
      return handle;
    });
    syncBuiltinESMExports();
  }
}

function targetOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

/** Handles have `fd`, −1 where closed; a file handle of fs.promises keeps it on the same name. */
function descriptorOf(resource: object): number | null {
  try {
    const { fd } = resource as { fd?: unknown };
    return typeof fd === 'number' && fd >= 0 ? fd : null;
  } catch {
    return null;
  }
}

/** The innermost frame of the program's own; of a package of its where there is none. */
export function placeInProgram(): string | null {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = FRAMES;
    Error.prepareStackTrace = (_error, sites) => sites;
    const { stack } = new Error() as unknown as { stack: readonly NodeJS.CallSite[] };
    let packaged: string | null = null;
    for (const site of stack) {
      const name = site.getFileName();
      if (!name || name.startsWith('node:') || name.startsWith(dirname(__dirname) + sep)) continue;
      const place = `${name.replace(/^file:\/\//, '')}:${site.getLineNumber()}:${site.getColumnNumber()}`;
      if (!name.includes(`${sep}node_modules${sep}`)) return place;
      packaged ??= place;
    }
    return packaged;
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}
