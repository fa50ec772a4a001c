/** What a program writes to the numbers 1 and 2 through node:fs, given to another writer. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** As fs.writeSync(): how many bytes are taken; throws the system's error where none are. */
interface Writer {
  writeNow(bytes: Buffer): number;
}

interface Written {
  readonly bytes: Buffer;
  readonly position: unknown;
}

type AnyFunction = (...args: unknown[]) => unknown;
/** null: not as Node takes it, which is then told by Node. */
type Parse = (args: readonly unknown[]) => Written | null;

/** For good: fs.write(), writeSync(), writev() and writevSync(), also where they are imported by name. */
export function interceptWrites(writerOf: (fd: 1 | 2) => Writer): void {
  const target = fs as unknown as Record<string, AnyFunction>;
  const wrap = (name: string, parse: Parse): void => {
    const plain = target[name]!;
    const isSync = name.endsWith('Sync');
    const wrapped: AnyFunction = (...args) => {
      const fd = args[0];
      if (fd !== 1 && fd !== 2) return plain(...args);
      const written = parse(args.slice(1));
      const callback = args.at(-1);
      // A position is for files that are no log.
      if (written === null || isPosition(written.position)) return plain(...args);
      if (isSync) return writerOf(fd).writeNow(written.bytes);
      if (typeof callback !== 'function') return plain(...args);
      callBack(writerOf(fd), written.bytes, callback as AnyFunction, args[1]);
      return undefined;
    };
    // Its name, and how util.promisify() is to treat it.
    target[name] = Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(plain));
  };
  wrap('writeSync', parseWrite);
  wrap('write', parseWrite);
  wrap('writevSync', parseWritev);
  wrap('writev', parseWritev);
  syncBuiltinESMExports();
}

export const toBuffer = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

const isPosition = (position: unknown): boolean =>
  typeof position === 'number' || typeof position === 'bigint';

function callBack(writer: Writer, bytes: Buffer, callback: AnyFunction, data: unknown): void {
  try {
    process.nextTick(callback, null, writer.writeNow(bytes), data);
  } catch (error) {
    process.nextTick(callback, error);
  }
}

const parseWrite: Parse = ([data, ...rest]) => {
  if (typeof data === 'string') {
    const [position, encoding = 'utf8'] = rest.filter((argument) => typeof argument !== 'function');
    if (typeof encoding !== 'string' || !Buffer.isEncoding(encoding)) return null;
    return { bytes: Buffer.from(data, encoding), position };
  }
  if (!ArrayBuffer.isView(data)) return null;
  const [first, second, third] = rest;
  const isObject = typeof first === 'object' && first !== null;
  const place: Readonly<Record<string, unknown>> = isObject
    ? { ...first }
    : { offset: first, length: second, position: third };
  const bytes = toBuffer(data);
  const offset = typeof place.offset === 'number' ? place.offset : 0;
  const length = typeof place.length === 'number' ? place.length : bytes.length - offset;
  const isWithin = offset >= 0 && length >= 0 && offset + length <= bytes.length;
  return isWithin ? { bytes: bytes.subarray(offset, offset + length), position: place.position } : null;
};

const parseWritev: Parse = ([list, position]) => {
  if (!Array.isArray(list) || !list.every((item) => ArrayBuffer.isView(item))) return null;
  return { bytes: Buffer.concat(list.map(toBuffer)), position };
};
