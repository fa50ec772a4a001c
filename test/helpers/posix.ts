/** What the tests of prefork/posix share: files, output of children, scripts that use the addon in a process of their own. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type SpawnOptions, spawn, waitpid } from '../../src/posix';

export const root = join(__dirname, '..', '..');

/** A directory that goes with its scope: `using directory = temporaryDirectory()`. */
export function temporaryDirectory(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'prefork-posix-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** What a program writes to stdout; it must exit 0. */
export function outputOf(file: string, args: readonly string[], options: SpawnOptions = {}): string {
  using directory = temporaryDirectory();
  const path = join(directory.path, 'out');
  const fd = openSync(path, 'w+');
  const [stdin = null, , stderr = 2] = options.stdio ?? [];
  const child = spawn(file, args, { ...options, stdio: [stdin, fd, stderr] });
  closeSync(fd);
  const result = waitpid(child);
  if (result?.status !== 0) throw new Error(`${file} ended with ${JSON.stringify(result)}`);
  return readFileSync(path, 'utf8');
}

export function shell(script: string, options: SpawnOptions = {}): string {
  return outputOf('/bin/sh', ['-c', script], options);
}

/** A script for a process of its own: `addon` is the addon, `env` the environment as lines. */
export function addonScript(body: string): string {
  return `
    const addon = require('node-gyp-build')(${JSON.stringify(root)});
    const env = Object.entries(process.env).map(([key, value]) => key + '=' + value);
    ${body}
  `;
}

/** Runs such a script; what it wrote and how it ended. */
export function runAddonScript(body: string): { stdout: string; stderr: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', addonScript(body)], {
    cwd: root,
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { stdout, stderr, status };
}
