/** Running the program before it serves, so that workers start with compiled, optimised code. */
import { pathToFileURL } from 'node:url';

export type Warmup = () => unknown;

/** That of the module given, or else the program's own export; null where there is none. */
export async function findWarmup(modulePath: string | null): Promise<Warmup | null> {
  if (modulePath !== null) {
    const warmup = pick(await import(pathToFileURL(modulePath).href));
    if (warmup === null) throw new Error(`${modulePath} exports neither warmup() nor a default function`);
    return warmup;
  }
  return ownWarmup();
}

/** Only under its name: a default export may be anything. */
async function ownWarmup(): Promise<Warmup | null> {
  // Not require.main: this module was loaded before there was one.
  const main = process.mainModule;
  if (main !== undefined) return functionNamed(main.exports, 'warmup');
  const entry = process.argv[1];
  if (entry === undefined) return null;
  // An ESM entry in the middle of a top-level await has no exports yet, and will not have before it has listened.
  const evaluated = await Promise.race([import(pathToFileURL(entry).href), afterSomeTurns()]);
  return functionNamed(evaluated, 'warmup');
}

/** Long enough for a module that is there already. */
async function afterSomeTurns(): Promise<null> {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  return null;
}

function pick(namespace: unknown): Warmup | null {
  const { default: byDefault } = namespace as { default?: unknown };
  if (typeof byDefault === 'function') return byDefault as Warmup;
  // CommonJS that is imported has its exports in `default`.
  return functionNamed(namespace, 'warmup') ?? functionNamed(byDefault, 'warmup');
}

function functionNamed(holder: unknown, name: string): Warmup | null {
  if ((typeof holder !== 'object' && typeof holder !== 'function') || holder === null) return null;
  const member: unknown = (holder as Record<string, unknown>)[name];
  return typeof member === 'function' ? (member as Warmup) : null;
}
