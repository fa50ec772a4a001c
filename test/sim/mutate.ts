/** Copies of the core with one bug each, and the search for the seed that finds it. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runSchedule } from './run';
import type { Core } from './world';

export interface Mutation {
  bug: string;
  /** in src/core */
  file: string;
  find: string;
  replace: string;
}

export interface Verdict {
  bug: string;
  /** null: it survived */
  seed: number | null;
  violation: string | null;
}

const COMPILER_OPTIONS = {
  target: 'es2023',
  module: 'node20',
  moduleResolution: 'node16',
  isolatedModules: true,
  // A mutation may be wrong for the type checker as well; here it is the simulator's turn.
  noCheck: true,
  skipLibCheck: true,
  types: [],
};

/** Plants each bug in a core of its own and runs schedules 1 to `seeds` until one fails. */
export function hunt(mutations: readonly Mutation[], seeds: number): Verdict[] {
  const dir = mkdtempSync(join(tmpdir(), 'prefork-mutations-'));
  try {
    const cores = plant(mutations, dir);
    return mutations.map(({ bug }, i) => ({ bug, ...firstViolation(cores[i] as Core, seeds) }));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function firstViolation(core: Core, seeds: number): { seed: number | null; violation: string | null } {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = runSchedule(seed, { core });
    if (violation !== null) return { seed, violation: violation.split('\n', 1)[0] ?? '' };
  }
  return { seed: null, violation: null };
}

function plant(mutations: readonly Mutation[], dir: string): Core[] {
  const source = resolve('src', 'core');
  for (const [i, mutation] of mutations.entries()) {
    const copy = join(dir, `m${i}`, 'core');
    mkdirSync(copy, { recursive: true });
    cpSync(source, copy, { recursive: true });
    mutate(join(copy, mutation.file), mutation);
  }
  const config = {
    compilerOptions: { ...COMPILER_OPTIONS, rootDir: '.', outDir: 'out' },
    include: ['m*/core/*.ts'],
  };
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify(config));
  execFileSync(resolve('node_modules', '.bin', 'tsc'), ['-p', dir], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const load = createRequire(join(dir, 'tsconfig.json'));
  return mutations.map((_, i) => ({
    ...(load(`./out/m${i}/core/state.js`) as Pick<Core, 'initialState'>),
    ...(load(`./out/m${i}/core/step.js`) as Pick<Core, 'step'>),
  }));
}

function mutate(path: string, { bug, find, replace }: Mutation): void {
  const text = readFileSync(path, 'utf8');
  const parts = text.split(find);
  if (parts.length !== 2) throw new Error(`${bug}: found ${parts.length - 1} times in ${path}: ${find}`);
  writeFileSync(path, parts.join(replace));
}
