/**
 * Command lines as Perl's Getopt::Long reads them, since scripts were written against it: any unique beginning of a name,
 * `--`, `-` or `+` before it, case ignored, options after the program's name too (until `--`). With
 * POSIXLY_CORRECT in the environment: whole names, no `+`, and the first word that is no option ends them.
 */

/** `exact`: ours, of which no beginning is taken, so that it makes no old abbreviation ambiguous. */
export interface OptionSpec {
  readonly kind: 'flag' | 'text' | 'whole';
  readonly exact?: boolean;
}

export interface ParsedOptions {
  /** every value given to a name, in order; flags have '1' */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** what is no option */
  readonly rest: readonly string[];
  /** one line a problem */
  readonly problems: readonly string[];
}

interface Reading {
  readonly specs: Readonly<Record<string, OptionSpec>>;
  readonly values: Map<string, string[]>;
  readonly problems: string[];
  readonly posix: boolean;
}

const WHOLE = /^[-+]?_*[0-9][0-9_]*$/;

/** Reads `argv`. Never throws. */
export function parseOptions(
  argv: readonly string[],
  specs: Readonly<Record<string, OptionSpec>>,
  posix: boolean,
): ParsedOptions {
  const reading: Reading = { specs, values: new Map(), problems: [], posix };
  const left = [...argv];
  const rest: string[] = [];
  const prefix = posix ? /^(?:--|-)(?=.)/s : /^(?:--|-|\+)(?=.)/s;
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    if (word === '--') break;
    if (!prefix.test(word)) {
      rest.push(word);
      if (posix) break;
      continue;
    }
    readOption(reading, word.replace(prefix, ''), left);
  }
  return { values: reading.values, rest: [...rest, ...left], problems: reading.problems };
}

function readOption(reading: Reading, text: string, left: string[]): void {
  const { problems, specs } = reading;
  const [, typed = text, attached] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  const found = find(reading, typed.toLowerCase());
  if (typeof found !== 'string') {
    if (found.length > 1) problems.push(`Option ${typed.toLowerCase()} is ambiguous (${found.join(', ')})`);
    else problems.push(`Unknown option: ${typed.toLowerCase()}`);
    return;
  }
  const { kind } = specs[found] as OptionSpec;
  if (kind === 'flag') {
    if (attached === undefined) add(reading, found, '1');
    else problems.push(`Option ${found} does not take an argument`);
    return;
  }
  const value = attached === undefined ? left.shift() : attached;
  if (value === undefined || attached === '') {
    problems.push(`Option ${found} requires an argument`);
  } else if (kind === 'text') {
    add(reading, found, value);
  } else if (WHOLE.test(value)) {
    add(reading, found, String(Number(value.replaceAll('_', ''))));
  } else {
    problems.push(`Value "${value}" invalid for option ${found} (number expected)`);
  }
}

/** The option's full name, or the names that it may be short for. */
function find({ specs, posix }: Reading, typed: string): string | readonly string[] {
  if (Object.hasOwn(specs, typed)) return typed;
  if (posix) return [];
  const names = Object.keys(specs).filter((name) => name.startsWith(typed) && specs[name]?.exact !== true);
  return names.length === 1 ? (names[0] as string) : names.sort();
}

function add({ values }: Reading, name: string, value: string): void {
  values.set(name, [...(values.get(name) ?? []), value]);
}
