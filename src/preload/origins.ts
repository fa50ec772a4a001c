/** Where in the program its handles, requests and descriptors were made: what a refusal to fork names. */
import { type AsyncHook, createHook } from 'node:async_hooks';
import fs from 'node:fs';
import { readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, sep } from 'node:path';
import { replace } from './replace';

const FRAMES = 50;

/** Asynchronous resources that cost nothing to share, or that are accounted for otherwise. */
const UNTRACKED = /^(PROMISE|TickObject|Immediate|Timeout|Microtask|bound-anonymous-fn|AsyncWrap)$/;

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
  #hook: AsyncHook | undefined;
  #active = false;

  /** From now on the places are noted; costs some microseconds for each resource made. */
  start(): void {
    if (this.#hook !== undefined) return;
    this.#active = true;
    this.#hook = createHook({
      init: (id, type, _trigger, resource) => {
        if (UNTRACKED.test(type)) return;
        this.#made.set(id, { type, resource: new WeakRef(resource), place: placeInProgram() });
      },
      destroy: (id) => void this.#made.delete(id),
    }).enable();
    this.#watchOpen();
  }

  /** Asynchronous hooks slow promises down: not for what serves. */
  stop(): void {
    this.#hook?.disable();
    this.#active = false;
    this.#made.clear();
    this.#opened.clear();
  }

  /** Handles and requests made since `start()` that have not been destroyed. */
  live(): LiveResource[] {
    const list: LiveResource[] = [];
    for (const { type, resource, place } of this.#made.values()) {
      const object = resource.deref();
      if (object !== undefined) list.push({ type, place, fd: descriptorOf(object) });
    }
    return list;
  }

  /** Where a descriptor was opened; null where that is not known. */
  ofDescriptor(fd: number): string | null {
    const opened = this.#opened.get(fd);
    if (opened !== undefined && opened.target === targetOf(fd)) return opened.place;
    return this.live().find((resource) => resource.fd === fd && resource.place !== null)?.place ?? null;
  }

  /** Calls without a handle of their own. Streams open through them too. */
  #watchOpen(): void {
    const { openSync, open } = fs;
    const note = (fd: number, place: string | null) => this.#opened.set(fd, { target: targetOf(fd), place });
    const active = () => this.#active;
    replace(fs, 'openSync', function (this: unknown, ...args: unknown[]) {
      const fd = Reflect.apply(openSync, this, args as never) as number;
      if (active()) note(fd, placeInProgram());
      return fd;
    });
    replace(fs, 'open', function (this: unknown, ...args: unknown[]) {
      const callback = args.at(-1);
      if (typeof callback === 'function' && active()) {
        const place = placeInProgram();
        args[args.length - 1] = (error: unknown, fd: number) => {
          if (!error) note(fd, place);
          Reflect.apply(callback, undefined, error ? [error] : [null, fd]);
        };
      }
      return Reflect.apply(open, this, args as never);
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
