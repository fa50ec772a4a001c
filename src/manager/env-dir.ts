/** An environment directory as of envdir(8) and Server::Starter: a file a variable, its first line the value. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Longest value, in bytes: what execve(2) takes in one string (MAX_ARG_STRLEN). */
const MAX_VALUE_BYTES = 131_072;

/** The variables of the directory; files whose name begins with a dot are left out. Throws what readdirSync throws. */
export function readEnvDir(directory: string): Record<string, string> {
  const env: Record<string, string> = {};
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name.startsWith('.') || entry.isDirectory() || entry.name.includes('=')) continue;
    const text = readFileSync(join(directory, entry.name), 'utf8');
    const line = text.split('\n', 1)[0] ?? '';
    if (Buffer.byteLength(line) < MAX_VALUE_BYTES && !line.includes('\0')) env[entry.name] = line;
  }
  return env;
}
