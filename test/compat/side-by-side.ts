/**
 * Runs one script against the original start_server and against ours, and holds both to one list of observations.
 * The original is used where it is installed; its observations are written in the tests, so that ours is checked without it too.
 */
import { accessSync, appendFileSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { Run } from './run';

/** Several bounded waits. */
const TEST_LIMIT_MS = 120_000;

/** What a script reports: normalised lines, in order. */
export type Observations = readonly string[];

/** A `start_server` command to put through the scripts. */
export interface Implementation {
  readonly name: 'original' | 'native' | 'js';
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const ORIGINAL = '/usr/bin/start_server';
// COMPAT_BIN: another build than the usual one.
const BIN = process.env.COMPAT_BIN ?? resolve(__dirname, '../../dist/cli/start-server.js');
const OURS = [process.execPath, BIN];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** `one`: what is tested happens before there is an engine. */
export type Engines = 'both' | 'one';

function implementations(engines: Engines): Implementation[] {
  const found: Implementation[] = [];
  if (isExecutable(ORIGINAL)) found.push({ name: 'original', command: [ORIGINAL], env: {} });
  if (loadBinding().binding !== null) found.push({ name: 'native', command: OURS, env: {} });
  if (engines === 'both' || found.at(-1)?.name !== 'native') {
    found.push({ name: 'js', command: OURS, env: { PREFORK_ENGINE: 'js' } });
  }
  const only = process.env.COMPAT_ONLY?.split(',');
  return only ? found.filter(({ name }) => only.includes(name)) : found;
}

/** Without the original, for what it has not. */
export function ours(): Implementation[] {
  return implementations('both').filter(({ name }) => name !== 'original');
}

/** Where ours is meant to differ: its own observations, and why. */
export interface Difference {
  readonly why: string;
  readonly ours?: Observations;
  readonly js?: Observations;
}

/** Declares one test per implementation; they run side by side. */
export function sideBySide(
  name: string,
  script: (run: Run) => Promise<Observations>,
  expected: Observations,
  difference?: Difference,
  engines: Engines = 'both',
): void {
  test(name, { timeout: TEST_LIMIT_MS }, async () => {
    const all = implementations(engines);
    const seen = await Promise.all(all.map((implementation) => observe(implementation, script)));
    if (process.env.COMPAT_RECORD)
      appendFileSync(process.env.COMPAT_RECORD, `${JSON.stringify([name, seen])}\n`);
    for (const [index, { name: who }] of all.entries()) {
      const ours = (who === 'js' ? difference?.js : undefined) ?? difference?.ours ?? expected;
      expect(seen[index], who).toEqual(who === 'original' ? expected : ours);
    }
  });
}

async function observe(implementation: Implementation, script: (run: Run) => Promise<Observations>) {
  const run = await Run.open(implementation);
  try {
    return await script(run);
  } finally {
    await run.close();
  }
}
