/**
 * What a forked process must not share with its siblings: the state of every random generator that JavaScript can reach.
 * OpenSSL's own notices a fork by itself.
 */
import { createHook } from 'node:async_hooks';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import vm from 'node:vm';
import type { Binding } from '../engine/binding';
import { replace } from './replace';

/** Node takes identifiers and integers from caches of this many draws. */
const UUIDS_A_CACHE = 128;
const INTEGERS_A_CACHE = 1024;
/** randomBytes() gives keys and salts, which are meant to stay; whoever wants as much as this keeps a pool. */
const POOL_BYTES = 1024;
const SEED_BYTES = 16;
/** Buffer.poolSize, which a program may change, or some more: Node 26 aligns. */
const POOL_BUFFER_BYTES = Buffer.allocUnsafe(1).buffer.byteLength;

type Bytes = NodeJS.ArrayBufferView | ArrayBufferLike;

/** Part of a buffer that was filled with random bytes, and their digest. */
interface Filled {
  readonly buffer: WeakRef<ArrayBufferLike>;
  readonly start: number;
  readonly length: number;
  digest: string;
}

export class RandomState {
  readonly #binding: Binding;
  /** by number of the buffer, then by place in it */
  readonly #filled = new Map<number, Map<string, Filled>>();
  readonly #bufferIds = new WeakMap<ArrayBufferLike, number>();
  readonly #collected = new FinalizationRegistry<number>((id) => this.#filled.delete(id));
  readonly #contexts = new Set<WeakRef<vm.Context>>();
  #nextBufferId = 0;
  #tracking = false;
  #forked = false;

  constructor(binding: Binding) {
    this.#binding = binding;
  }

  /** Whether Math.random of this V8 can be seeded anew. */
  get supported(): boolean {
    return this.#reseed(Math.random);
  }

  /** From now on buffers that are filled with random bytes are noted, weakly, and contexts of node:vm. */
  track(): void {
    if (this.#tracking) return;
    this.#tracking = true;
    this.#watchFills();
    this.#watchContexts();
    syncBuiltinESMExports();
  }

  /**
   * Before a fork: uses up the caches of randomUUID() and randomInt(), so that a child's first draw fills its own. That
   * Node fills one is seen by the asynchronous resource that it makes for it.
   */
  drain(): void {
    let fills = 0;
    const hook = createHook({
      init(_id, type) {
        if (type === 'RANDOMBYTESREQUEST') fills++;
      },
    }).enable();
    try {
      useUp(
        () => crypto.randomUUID(),
        UUIDS_A_CACHE,
        () => fills,
      );
      useUp(
        () => crypto.randomInt(1),
        INTEGERS_A_CACHE,
        () => fills,
      );
    } finally {
      hook.disable();
    }
  }

  /** In the child: other numbers for Math.random, in every context, and other bytes in the noted buffers. */
  refresh(): void {
    this.#forked = true;
    if (!this.#reseed(Math.random)) throw new Error('Math.random of this V8 cannot be seeded anew');
    for (const reference of this.#contexts) {
      const context = reference.deref();
      if (context !== undefined) this.#reseedContext(context);
    }
    for (const places of this.#filled.values()) for (const filled of places.values()) refill(filled);
    this.#filled.clear();
  }

  #reseed(random: () => number): boolean {
    // One that was asked to be predictable stays so.
    if (process.execArgv.some((arg) => /^--random[-_]seed\b/.test(arg))) return true;
    const seed = crypto.randomBytes(SEED_BYTES);
    return this.#binding.reseedMathRandom(random, random(), seed);
  }

  #reseedContext(context: vm.Context): void {
    const random: unknown = vm.runInContext('Math.random', context);
    if (typeof random === 'function') this.#reseed(random as () => number);
  }

  #watchFills(): void {
    const { randomFillSync, randomBytes } = crypto;
    const note = this.#note.bind(this);
    replace(crypto, 'randomFillSync', function (this: unknown, ...args: unknown[]) {
      const result = Reflect.apply(randomFillSync, this, args) as Bytes;
      note(result, args[1] as number | undefined, args[2] as number | undefined);
      return result;
    });
    replace(crypto, 'randomBytes', function (this: unknown, ...args: unknown[]) {
      const result: unknown = Reflect.apply(randomBytes, this, args);
      if (Buffer.isBuffer(result) && result.length >= POOL_BYTES) note(result);
      return result;
    });
    const prototype = Object.getPrototypeOf(crypto.webcrypto) as typeof crypto.webcrypto;
    const { getRandomValues } = prototype;
    replace(prototype, 'getRandomValues', function (this: unknown, ...args: unknown[]) {
      const result = Reflect.apply(getRandomValues, this, args) as NodeJS.ArrayBufferView;
      note(result);
      return result;
    });
  }

  /** `offset` and `size` in elements, as randomFillSync has them. */
  #note(bytes: Bytes, offset = 0, size?: number): void {
    if (this.#forked) return;
    const view = ArrayBuffer.isView(bytes);
    const buffer = view ? bytes.buffer : bytes;
    const element = (bytes as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    // A view of a part is scratch space of something larger, such as WebAssembly's memory, and may be used otherwise later.
    if (view && bytes.byteLength < buffer.byteLength && !isPooled(bytes)) return;
    const start = (view ? bytes.byteOffset : 0) + offset * element;
    const length = size === undefined ? bytes.byteLength - offset * element : size * element;
    const digest = digestOf(buffer, start, length);
    this.#placesIn(buffer).set(`${start}:${length}`, { buffer: new WeakRef(buffer), start, length, digest });
  }

  #placesIn(buffer: ArrayBufferLike): Map<string, Filled> {
    let id = this.#bufferIds.get(buffer);
    if (id === undefined) {
      id = this.#nextBufferId++;
      this.#bufferIds.set(buffer, id);
      this.#collected.register(buffer, id);
    }
    let places = this.#filled.get(id);
    if (places === undefined) {
      places = new Map();
      this.#filled.set(id, places);
    }
    return places;
  }

  /** V8 seeds a new context from a generator of the isolate, which siblings have in common. */
  #watchContexts(): void {
    const { createContext } = vm;
    const runInNewContext = vm.runInNewContext as (...args: unknown[]) => unknown;
    const scriptRun = vm.Script.prototype.runInNewContext as (...args: unknown[]) => unknown;
    const made = (context: unknown) => this.#contextMade(context);
    replace(vm, 'createContext', function (this: unknown, ...args: unknown[]) {
      const context: unknown = Reflect.apply(createContext, this, args as []);
      made(context);
      return context;
    });
    // Both take a context that exists already as it is.
    replace(vm, 'runInNewContext', function (this: unknown, ...args: unknown[]) {
      const [code, object, options] = args;
      return Reflect.apply(runInNewContext, this, [code, contextOf(object, options), ...args.slice(2)]);
    });
    replace(vm.Script.prototype, 'runInNewContext', function (this: unknown, ...args: unknown[]) {
      const [object, options] = args;
      return Reflect.apply(scriptRun, this, [contextOf(object, options), ...args.slice(1)]);
    });
  }

  #contextMade(context: unknown): void {
    if (typeof context !== 'object' || context === null || !vm.isContext(context)) return;
    if (this.#forked) this.#reseedContext(context);
    else this.#contexts.add(new WeakRef(context));
  }
}

/** The context that `runInNewContext` would make; its options for it have other names. What it would refuse, it gets. */
function contextOf(object: unknown, options: unknown): unknown {
  if (object === null || (object !== undefined && typeof object !== 'object')) return object;
  if (typeof options !== 'object' || options === null) return vm.createContext(object ?? {});
  const { contextName, contextOrigin, contextCodeGeneration, microtaskMode } =
    options as vm.RunningCodeInNewContextOptions;
  return vm.createContext(object ?? {}, {
    ...(contextName !== undefined && { name: contextName }),
    ...(contextOrigin !== undefined && { origin: contextOrigin }),
    ...(contextCodeGeneration !== undefined && { codeGeneration: contextCodeGeneration }),
    ...(microtaskMode !== undefined && { microtaskMode }),
  });
}

/** Draws until Node fills the cache, then what it has got. */
function useUp(draw: () => void, cached: number, fills: () => number): void {
  const before = fills();
  for (let i = 0; fills() === before; i++) {
    if (i > 2 * cached) throw new Error('the random caches of this Node work otherwise than known');
    draw();
  }
  for (let i = 1; i < cached; i++) draw();
}

function refill(filled: Filled): void {
  const buffer = filled.buffer.deref();
  if (buffer === undefined || buffer.byteLength < filled.start + filled.length) return;
  // Used for something else since.
  if (digestOf(buffer, filled.start, filled.length) !== filled.digest) return;
  crypto.randomFillSync(new Uint8Array(buffer, filled.start, filled.length));
}

function digestOf(buffer: ArrayBufferLike, start: number, length: number): string {
  return crypto
    .createHash('sha256')
    .update(new Uint8Array(buffer, start, length))
    .digest('base64');
}

/** Small Buffers are cut from one pool after the other; the bytes of one are never given to another. */
function isPooled(bytes: NodeJS.ArrayBufferView): boolean {
  return Buffer.isBuffer(bytes) && bytes.buffer.byteLength === POOL_BUFFER_BYTES;
}
