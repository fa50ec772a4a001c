import { readFileSync } from 'node:fs';

/** What a file holds, of /proc for one, byte by byte; '' where it cannot be read. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
