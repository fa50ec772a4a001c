/** What docs/ says of options, signals, errors and exit codes is complete. `npx vitest run -u` on this file writes docs/options.md anew. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type SignalAction, signalPresets } from '../../src/core/policy';
import { errorTable, exitCodes } from '../../src/errors';
import { groups, longFlag, optionNames, optionSpec, variableName } from '../../src/options/schema';
import { helpText } from '../../src/starter/help';

const root = join(__dirname, '..', '..');
const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');

const INTRODUCTION = `# Options and signals

<!-- Written by test/unit/docs.test.ts from src/options/schema.ts and src/core/policy.ts. -->

Options of \`prefork run\` and \`prefork start\`. The command line wins, then the configuration file, then the variable, then the default. In
\`prefork.config.{ts,mts,js,mjs,cjs,json}\` and for \`createManager()\` an option has the name in the second column; a list may be an array.

A duration is seconds, or has a unit (\`500ms\`, \`10s\`, \`5m\`, \`1h\`); a size is bytes, or has a unit (\`512MiB\`, \`1GB\`). A flag has a \`--no-\` form.
Options marked ¹ need the native engine; \`prefork doctor\` tells what works on a machine.

\`start_server\` has its own options: [start_server](start_server.md).
`;

const cell = (text: unknown): string => String(text).replaceAll('|', '\\|');

function optionRow(name: (typeof optionNames)[number]): string {
  const { kind, arg, short, alias, doc, offDoc, needs, defaultDoc, default: usual } = optionSpec(name);
  const argument = kind.isFlag ? '' : ` ${arg}`;
  const flag = [short, longFlag(name) + argument, alias].filter(Boolean).join(', ');
  const what = [doc, offDoc && `\`${longFlag(name).replace('--', '--no-')}\`: ${offDoc}`]
    .filter(Boolean)
    .join('. ');
  const values = kind.isFlag ? '' : `; ${kind.expects}`;
  const otherwise = defaultDoc ?? (usual === false ? 'off' : usual === true ? 'on' : (usual ?? ''));
  const cells = [`\`${flag}\`${needs ? ' ¹' : ''}`, `\`${name}\``, what + values, otherwise];
  return `| ${cells.map(cell).join(' | ')} |`;
}

function describeAction(action: SignalAction | undefined): string {
  switch (action?.do) {
    case undefined:
      return "the system's default";
    case 'stop':
      return `finish what is in flight and stop${action.signal ? `; workers get ${action.signal.slice(3)}` : ''}; again: at once`;
    case 'interrupt':
      return 'the same (Ctrl-C); again, a second or more later: at once';
    case 'stopNow':
      return 'stop at once';
    case 'hangup':
      return 'reload; where the terminal has gone: stop';
    case 'reload':
      return 'reload';
    case 'reopenLogs':
      return 'open the log file anew';
    case 'upgrade':
      return 'replace the manager in place ¹';
    case 'scale':
      return action.by > 0 ? 'one worker more' : 'one worker fewer';
    default:
      return action!.do;
  }
}

function optionsPage(): string {
  const tables = groups.map((group) => {
    const rows = optionNames.filter((name) => optionSpec(name).group === group).map(optionRow);
    return `## ${group.slice(0, -1)}\n\n| option | name | what | default |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
  });
  const signals = [
    ...new Set(Object.values(signalPresets).flatMap((table) => Object.keys(table))),
  ] as NodeJS.Signals[];
  const names = Object.keys(signalPresets) as (keyof typeof signalPresets)[];
  const signalRows = signals.map((signal) => {
    const actions = names.map((name) => describeAction(signalPresets[name][signal as never]));
    return `| \`${signal.slice(3)}\` | ${actions.join(' | ')} |`;
  });
  const signalTable = `## Signals to the manager\n\nBy \`--signals\`; \`--trap-signal\` replaces the table.\n\n| signal | ${names.map((name) => `\`${name}\``).join(' | ')} |\n| --- | --- | --- | --- |\n${signalRows.join('\n')}\n`;
  const variables = `## Variables\n\n${optionNames.map((name) => `\`${variableName(name)}\``).join(' ')}\n`;
  return [INTRODUCTION, ...tables, signalTable, variables].join('\n');
}

describe('docs', () => {
  it('have every option and signal as the schema has it', async () => {
    await expect(optionsPage()).toMatchFileSnapshot(join(root, 'docs', 'options.md'));
  });

  it('have every error and exit code', () => {
    const text = read('docs', 'troubleshooting.md');
    const sections = new Map(
      text
        .split('\n### ')
        .map((section) => [section.split('\n', 1)[0]!, section.split('\n').slice(1).join('\n').trim()]),
    );
    for (const [code, { exitCode }] of Object.entries(errorTable)) {
      expect(sections.get(`${code} (exit code ${exitCode})`)?.length ?? 0, code).toBeGreaterThan(60);
    }
    for (const code of text.match(/ERR_PREFORK_\w+/g) ?? []) expect(errorTable).toHaveProperty(code);
    for (const code of Object.values(exitCodes)) expect(text).toMatch(new RegExp(`^\\| ${code} \\|`, 'm'));
  });

  it('have every option of start_server', () => {
    const text = read('docs', 'start_server.md') + read('docs', 'migration.md');
    for (const [option] of helpText.matchAll(/--[a-z-]+/g)) expect(text, option).toContain(option);
  });

  it('name in the tables for those who come from elsewhere only options that there are', () => {
    const known = new Set(
      optionNames.flatMap((name) => [longFlag(name), longFlag(name).replace('--', '--no-')]),
    );
    const own = new Set(['--help', '--json', '--now', '--timeout', '--watch']);
    const rows =
      read('docs', 'migration.md')
        .split('## Server::Starter')[0]!
        .match(/^\| .*$/gm) ?? [];
    expect(rows.length).toBeGreaterThan(40);
    for (const row of rows) {
      const ours = row.split(' | ').slice(1).join(' ');
      for (const [option] of ours.matchAll(/--[a-z][a-z-]+/g)) {
        expect(known.has(option) || own.has(option), `${option} in ${row}`).toBe(true);
      }
    }
  });

  it('are all in the index, and link to files that there are', () => {
    const index = read('docs', 'README.md');
    expect(read('README.md')).toContain('docs/README.md');
    const names = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
    for (const name of names) if (name !== 'README.md') expect(index, name).toContain(`(${name})`);
    for (const page of ['README.md', ...names.map((name) => join('docs', name))]) {
      for (const [, target = ''] of read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
        expect(existsSync(join(root, dirname(page), target)), `${target} in ${page}`).toBe(true);
      }
    }
  });

  it('show pictures that are small and are looked at, and that no package brings', () => {
    const pages = ['README.md', join('docs', 'observe.md')].map((page) => read(page));
    for (const [name, maxBytes] of [
      ['top.svg', 60 << 10],
      ['page.png', 200 << 10],
    ] as const) {
      expect(statSync(join(root, 'docs', name)).size).toBeLessThan(maxBytes);
      for (const page of pages) expect(page).toMatch(new RegExp(`!\\[[^\\]]{20,}\\]\\((docs/)?${name}\\)`));
    }
    const { files } = JSON.parse(read('package.json')) as { files: string[] };
    expect(files.filter((file) => file.startsWith('docs'))).toEqual([]);
  });
});
