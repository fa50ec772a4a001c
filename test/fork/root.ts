import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package's directory, also from where the soak is compiled to. */
export const root: string = findRoot(__dirname);

function findRoot(directory: string): string {
  if (existsSync(join(directory, 'binding.gyp'))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error('not inside the package');
  return findRoot(parent);
}
