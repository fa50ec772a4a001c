/** The kinds of values that options have: what a configuration file may hold, and how text becomes that. */
import * as v from 'valibot';
import { ADDRESS_FORMS, type Address, type Endpoint, parseAddress } from './address';
import { formatDuration, MAX_DURATION_MS, parseDuration } from './duration';
import { type Parsed, parsed, refused } from './result';
import { parseSignal, parseTrappable } from './signal-name';
import { formatSize, MAX_SIZE_BYTES, parseSize } from './size';

export interface Kind<In, Out, Unit extends string = ''> {
  /** checks a value of the configuration file and normalises it */
  readonly schema: v.GenericSchema<In, Out>;
  /** what is accepted, to follow "expected" */
  readonly expects: string;
  /** appended to the name of the normalised value */
  readonly unit: Unit;
  /** without an argument on the command line, and with a `--no-` form */
  readonly isFlag: boolean;
  /** may be given more than once */
  readonly isList: boolean;
  /** text of the command line or environment (several where `isList`) to a value of the configuration file */
  readonly fromText: (texts: readonly string[]) => unknown;
}

/** Longest path or word, PATH_MAX without its NUL. */
const MAX_TEXT_CHARS = 4095;
/** Most addresses, node arguments or trapped signals. */
const MAX_LIST_LENGTH = 256;

type Wrong = { input: unknown };
const wrongType = ({ input }: Wrong): string => `is ${typeName(input)}`;

const text = v.pipe(
  v.string(wrongType),
  v.minLength(1, 'is empty'),
  v.maxLength(MAX_TEXT_CHARS, `is longer than ${MAX_TEXT_CHARS} characters`),
  v.check((value) => !value.includes('\0'), 'has a NUL in it'),
);
const textOrNumber = v.union([v.string(wrongType), v.number(wrongType)], wrongType);

/** A whole number from `min` to `max`. */
export function whole(min: number, max: number): Kind<number, number> {
  return kind({
    expects: `a whole number from ${min} to ${max}`,
    schema: wholeSchema(min, max),
    fromText: ([only]) => toNumber(only!),
  });
}

/** A whole number, or `auto`, which stands for `automatic`. */
export function wholeOrAuto(min: number, max: number, automatic: number): Kind<number | 'auto', number> {
  const schema = v.lazy((input) =>
    input === 'auto'
      ? v.pipe(
          v.literal('auto'),
          v.transform(() => automatic),
        )
      : wholeSchema(min, max),
  ) as v.GenericSchema<number | 'auto', number>;
  return kind({
    expects: `a whole number from ${min} to ${max}, or auto`,
    schema,
    fromText: ([only]) => toNumber(only!),
  });
}

/** On or off. In the environment: 1, true, yes, on; 0, false, no, off. */
export function flag(): Kind<boolean, boolean> {
  const words: Readonly<Record<string, boolean>> = {
    1: true,
    true: true,
    yes: true,
    on: true,
    0: false,
    false: false,
    no: false,
    off: false,
  };
  return kind({
    expects: 'true or false',
    schema: v.boolean(wrongType),
    isFlag: true,
    fromText: ([only]) => (Object.hasOwn(words, only!.toLowerCase()) ? words[only!.toLowerCase()] : only),
  });
}

/** One of a few words. */
export function choice<const T extends string>(...words: readonly [T, ...T[]]): Kind<T, T> {
  return kind({
    expects: orList(words),
    schema: v.picklist(words, ({ input }: Wrong) =>
      typeof input === 'string' ? 'is unknown' : wrongType({ input }),
    ),
  });
}

/** A path or another word; `what` names it. */
export function word(what: string): Kind<string, string> {
  return kind({ expects: what, schema: text });
}

/** A name, or a number as in `--user 1000`. */
export function nameOrId(what: string): Kind<string | number, string> {
  const schema = fromParser(textOrNumber, (input): Parsed<string> => {
    const id = String(input);
    return /^(\d{1,10}|[a-z_][a-z0-9_.-]*\$?)$/i.test(id) ? parsed(id) : refused('is no name or number');
  });
  return kind({ expects: what, schema });
}

/** One word or several. */
export function words(what: string): Kind<string | string[], string[]> {
  return list(what, text);
}

/** One address to listen on or several. A number is a port. */
export function addresses(): Kind<string | number | (string | number)[], Address[]> {
  return list(
    `an address such as ${ADDRESS_FORMS}`,
    fromParser(textOrNumber, (input) => parseAddress(String(input))),
  );
}

/** One TCP address or Unix socket. */
export function endpoint(): Kind<string | number, Endpoint> {
  return kind({
    expects: 'an address such as 9090, 127.0.0.1:9090 or unix:/run/app.metrics',
    schema: fromParser(textOrNumber, (input): Parsed<Endpoint> => {
      const result = parseAddress(String(input));
      if (!result.ok) return result;
      const address = result.value;
      if (address.kind === 'unix') return parsed(address);
      return address.kind === 'tcp'
        ? parsed({ ...address, kind: 'tcp' })
        : refused('is neither a TCP address nor a Unix socket');
    }),
  });
}

/** A duration from `minMs` to `maxMs` milliseconds. */
export function duration(minMs = 0, maxMs = MAX_DURATION_MS): Kind<string | number, number, 'Ms'> {
  return kind({
    expects: `a duration such as 500ms, 10s, 5m, or a number of seconds, from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
    schema: v.pipe(
      fromParser(textOrNumber, parseDuration),
      v.minValue(minMs, 'is too short'),
      v.maxValue(maxMs, 'is too long'),
    ),
    unit: 'Ms',
  });
}

/** A size from `minBytes` to `maxBytes`. */
export function size(minBytes = 0, maxBytes = MAX_SIZE_BYTES): Kind<string | number, number, 'Bytes'> {
  return kind({
    expects: `a size such as 64k, 512MiB, 1GB, or a number of bytes, from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`,
    schema: v.pipe(
      fromParser(textOrNumber, parseSize),
      v.minValue(minBytes, 'is too small'),
      v.maxValue(maxBytes, 'is too big'),
    ),
    unit: 'Bytes',
  });
}

/** A part of the whole, above 0 and at most 1; `80%` and `0.8` are the same. */
export function share(): Kind<string | number, number> {
  return kind({
    expects: 'a share above 0 and up to 1, such as 0.8 or 80%',
    schema: fromParser(textOrNumber, (input): Parsed<number> => {
      const [, digits, percent] = /^(\d{1,3}(?:\.\d{1,6})?)(%)?$/.exec(String(input).trim()) ?? [];
      const value = digits === undefined ? Number.NaN : Number(digits) / (percent ? 100 : 1);
      return value > 0 && value <= 1 ? parsed(value) : refused('is no such share');
    }),
  });
}

/** Permission bits to take away, in octal text: numbers would be read as decimal in JSON. */
export function octalMask(): Kind<string, number> {
  return kind({
    expects: 'octal digits from 000 to 777, as text such as "022"',
    schema: fromParser(
      v.string(wrongType),
      (input): Parsed<number> =>
        /^0?[0-7]{1,3}$/.test(input) ? parsed(Number.parseInt(input, 8)) : refused('is no such mask'),
    ),
  });
}

/** Signal to signal; on the command line `HUP=TERM`. */
export function signalMap(): Kind<Record<string, string>, Partial<Record<NodeJS.Signals, NodeJS.Signals>>> {
  return kind({
    expects: 'signals as in HUP=TERM (in a file: { HUP: "TERM" })',
    schema: v.pipe(
      v.custom<Record<string, string>>(isPlainObject, wrongType),
      v.record(fromParser(v.string(), parseTrappable), fromParser(v.string(wrongType), parseSignal)),
    ),
    isList: true,
    fromText: (texts) => Object.fromEntries(texts.map((pair) => splitPair(pair))),
  });
}

function list<In, Out>(what: string, item: v.GenericSchema<In, Out>): Kind<In | In[], Out[]> {
  const many = v.pipe(
    v.array(item),
    v.maxLength(MAX_LIST_LENGTH, `has more than ${MAX_LIST_LENGTH} entries`),
  );
  const one = v.pipe(
    item,
    v.transform((value) => [value]),
  );
  return kind({
    expects: what,
    schema: v.lazy((input) => (Array.isArray(input) ? many : one)) as v.GenericSchema<In | In[], Out[]>,
    isList: true,
    fromText: (texts) => texts,
  });
}

type KindSpec<In, Out, Unit extends string> = Pick<Kind<In, Out>, 'schema' | 'expects'> &
  Partial<Pick<Kind<In, Out>, 'isFlag' | 'isList' | 'fromText'>> & { unit?: Unit };

function kind<In, Out, Unit extends string = ''>(spec: KindSpec<In, Out, Unit>): Kind<In, Out, Unit> {
  return {
    isFlag: false,
    isList: false,
    fromText: ([only]) => only,
    ...spec,
    unit: (spec.unit ?? '') as Unit,
  };
}

function wholeSchema(min: number, max: number): v.GenericSchema<number, number> {
  return v.pipe(
    v.number(wrongType),
    v.integer('is not whole'),
    v.minValue(min, 'is too low'),
    v.maxValue(max, 'is too high'),
  );
}

/** A schema that ends in one of the pure parsers. */
function fromParser<In, Between, Out>(
  type: v.GenericSchema<In, Between>,
  parse: (input: Between) => Parsed<Out>,
): v.GenericSchema<In, Out> {
  return v.pipe(
    type,
    v.rawTransform<Between, Out>(({ dataset, addIssue, NEVER }) => {
      const result = parse(dataset.value);
      if (result.ok) {
        return result.value;
      }
      addIssue({ message: result.reason });
      return NEVER;
    }),
  );
}

/** Digits become a number; what is no number stays text, which the schema then refuses or knows. */
function toNumber(digits: string): unknown {
  return /^-?\d{1,15}(\.\d{1,9})?$/.test(digits.trim()) ? Number(digits) : digits;
}

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
}

function orList(words: readonly string[]): string {
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

function typeName(value: unknown): string {
  if (value === null) {
    return 'null';
  }
  if (Array.isArray(value)) {
    return 'a list';
  }
  return (
    { string: 'text', number: 'a number', boolean: 'a boolean', object: 'an object' }[
      typeof value as string
    ] ?? typeof value
  );
}
