/** What to do when the addon did not load. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The tools that building the addon takes; any one of each list is enough. */
const BUILD_TOOLS: Readonly<Record<string, readonly string[]>> = {
  'a C++ compiler': ['c++', 'g++', 'clang++'],
  make: ['make', 'gmake'],
  python3: ['python3', 'python'],
};

/** Names of the tools for building that are not on the PATH. */
export function missingBuildTools(env: NodeJS.ProcessEnv = process.env): string[] {
  const directories = (env.PATH ?? '').split(delimiter).filter(Boolean);
  return Object.entries(BUILD_TOOLS)
    .filter(
      ([, names]) =>
        !directories.some((directory) => names.some((name) => isExecutable(join(directory, name)))),
    )
    .map(([tool]) => tool);
}

/** One sentence without its full stop: how to get the addon on this machine. */
export function addonAdvice(env: NodeJS.ProcessEnv = process.env): string {
  if (env.PREFORK_ENGINE === 'js') {
    return 'Unset PREFORK_ENGINE';
  }
  const missing = missingBuildTools(env);
  const install = missing.length > 0 ? `install ${missing.join(' and ')}, then ` : '';
  return `To build it, ${install}run npm rebuild prefork`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
