/** Looks a program up as execvp(3) does. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where there is no PATH. */
const DEFAULT_PATH = '/usr/bin:/bin';

/** Whether that file, or with a bare name one along `path`, can be executed. `dir`: what a relative one is relative to. */
export function isExecutable(file: string, path: string | undefined, dir = '.'): boolean {
  if (file.includes('/')) return isProgram(file.startsWith('/') ? file : join(dir, file));
  return (path ?? DEFAULT_PATH).split(delimiter).some((place) => isProgram(join(place || dir, file)));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
