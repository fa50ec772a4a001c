/** The options table as commander's options, and what commander read as what `loadRunOptions` takes. */
import { type Command, Option } from 'commander';
import { longFlag, type OptionName, optionNames, optionSpec } from '../options/schema';
import type { GivenOptions } from '../options/sources';

/** Adds the options of the table, or those named, to `command`, in the table's groups. */
export function addRunOptions(command: Command, names: readonly OptionName[] = optionNames): void {
  for (const name of names) {
    for (const option of toOptions(name)) {
      command.addOption(option);
    }
  }
}

/** What was given, by the names of the table. */
export function givenOptions(command: Command): GivenOptions {
  const values = command.opts<Record<string, boolean | string | string[]>>();
  const given: { -readonly [K in keyof GivenOptions]: GivenOptions[K] } = {};
  for (const name of optionNames) {
    for (const option of toOptions(name)) {
      const value = values[option.attributeName()];
      if (value !== undefined) {
        given[name] = value;
      }
    }
  }
  return given;
}

/** The option itself, its other spelling, and for a flag the form that turns it off. */
function toOptions(name: OptionName): Option[] {
  const spec = optionSpec(name);
  const argument = spec.kind.isFlag ? '' : ` <${spec.arg ?? 'value'}>`;
  const main = new Option(
    `${spec.short ? `${spec.short}, ` : ''}${longFlag(name)}${argument}`,
    describeOption(name),
  );
  main.helpGroup(spec.group);
  const options = [main];
  if (spec.alias) {
    options.push(new Option(`${spec.alias}${argument}`).hideHelp());
  }
  if (spec.kind.isFlag) {
    const off = new Option(longFlag(name).replace('--', '--no-'), spec.offDoc ?? '').helpGroup(spec.group);
    options.push(off.hideHelp(spec.offDoc === undefined));
  }
  return spec.kind.isList ? options.map((option) => option.argParser(append)) : options;
}

function describeOption(name: OptionName): string {
  const spec = optionSpec(name);
  const value = spec.kind.isFlag ? undefined : spec.default;
  const usual = spec.defaultDoc ?? value;
  return usual === undefined ? spec.doc : `${spec.doc} (default: ${usual})`;
}

function append(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
