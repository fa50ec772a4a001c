/** Where option values come from, and the check of each source against the table. */
import * as v from 'valibot';
import { preforkError } from '../errors';
import type { Kind } from './kinds';
import { nearest } from './nearest';
import { quote } from './result';
import {
  longFlag,
  type NormalisedOptions,
  normalisedName,
  type OptionName,
  optionNames,
  optionSpec,
  variableName,
} from './schema';

/** What the command line gave, as text; flags are booleans. Plain JSON, so that it can be kept for a reload. */
export type GivenOptions = { readonly [K in OptionName]?: boolean | string | readonly string[] };

/** One source, checked: values in their final form, and how an option is called there in errors. */
export interface Source {
  readonly values: Partial<NormalisedOptions>;
  readonly has: (name: OptionName) => boolean;
  readonly where: (name: OptionName) => string;
}

/** Checks what the command line gave. Throws `ERR_PREFORK_OPTION_VALUE`. */
export function fromCommandLine(given: GivenOptions): Source {
  const values = Object.entries(given).map(([name, value]) => [
    name,
    typeof value === 'boolean' ? value : toValue(name as OptionName, [value].flat()),
  ]);
  return check(Object.fromEntries(values), longFlag);
}

/** Checks the `PREFORK_*` variables that are options; empty ones count as absent, lists are split at white space. */
export function fromEnvironment(env: NodeJS.ProcessEnv): Source {
  const values: Record<string, unknown> = {};
  for (const name of optionNames) {
    const value = env[variableName(name)]?.trim();
    if (value) {
      values[name] = toValue(name, optionSpec(name).kind.isList ? value.split(/\s+/) : [value]);
    }
  }
  return check(values, variableName);
}

/** Checks the object that a configuration file holds; `file` is how it is called in errors. */
export function fromConfig(values: Readonly<Record<string, unknown>>, file: string): Source {
  const known = optionNames.filter((name) => name !== 'config');
  for (const name of Object.keys(values)) {
    if (!(known as string[]).includes(name)) {
      throw preforkError('ERR_PREFORK_OPTION_UNKNOWN', {
        name: quote(name),
        file,
        nearest: nearest(name, known),
      });
    }
  }
  return check(values, (name) => `${name} in ${file}`);
}

/** The values of options that nothing names. */
export function defaults(): NormalisedOptions {
  const given = optionNames
    .map((name) => [name, optionSpec(name).default])
    .filter(([, value]) => value !== undefined);
  const absent = Object.fromEntries(optionNames.map((name) => [normalisedName(name), null]));
  return { ...absent, ...check(Object.fromEntries(given), longFlag).values } as NormalisedOptions;
}

function toValue(name: OptionName, texts: readonly string[]): unknown {
  return optionSpec(name).kind.fromText(texts);
}

/** Runs each value through the schema of its option. */
function check(values: Readonly<Record<string, unknown>>, where: (name: OptionName) => string): Source {
  const checked: Record<string, unknown> = {};
  for (const name of optionNames) {
    const value = values[name];
    if (value === undefined) {
      continue;
    }
    checked[normalisedName(name)] = checkValue(optionSpec(name).kind, value, where(name));
  }
  return { values: checked as Partial<NormalisedOptions>, has: (name) => values[name] !== undefined, where };
}

/** A value as its kind has it. Throws `ERR_PREFORK_OPTION_VALUE`; `where` is how the option is called in it. */
export function checkValue<In, Out>(kind: Kind<In, Out, string>, value: unknown, where: string): Out {
  const result = v.safeParse(kind.schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [{ input, message, path }] = result.issues;
  throw preforkError('ERR_PREFORK_OPTION_VALUE', {
    where,
    found: quote(path?.at(-1)?.origin === 'key' ? path.at(-1)!.key : input),
    problem: message,
    expected: kind.expects,
  });
}
