/** Configuration files, as the built loader reads them: it starts a process, so these run against dist. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const built = createRequire(__filename);
const { CONFIG_NAMES, findConfigFile, loadConfigFile } = built(
  '../../dist/options/config-file.js',
) as typeof import('../../src/options/config-file');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-config-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  const file = join(directory, name);
  writeFileSync(file, text);
  return file;
}

const load = (file: string, timeoutMs?: number) => loadConfigFile(file, directory, process.env, timeoutMs);

describe('a configuration file', () => {
  it.each([
    ['prefork.config.json', '\uFEFF{ "workers": 3 }'],
    ['prefork.config.cjs', 'module.exports = { workers: 3 }'],
    ['prefork.config.js', 'module.exports = { workers: 3 }'],
    ['prefork.config.mjs', 'export default { workers: 3 }'],
    ['prefork.config.mjs', 'export default Promise.resolve({ workers: 3 })'],
    ['prefork.config.mjs', 'const n = await Promise.resolve(3); export default { workers: n }'],
    [
      'compiled.cjs',
      'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = { workers: 3 }',
    ],
    ['noisy.mjs', 'console.log("{}"); console.error("x"); export default { workers: 3 }'],
    ['busy.mjs', 'setInterval(() => {}, 1000); export default { workers: 3 }'],
  ])('%s with %j is read', async (name, text) => {
    expect(await load(write(name, text))).toEqual({ workers: 3 });
  });

  it('is read afresh each time, with what it imports', async () => {
    const file = write('prefork.config.mjs', 'export { default } from "./shared.mjs"');
    write('shared.mjs', 'export default { workers: 1 }');
    expect(await load(file)).toEqual({ workers: 1 });
    write('shared.mjs', 'export default { workers: 2 }');
    expect(await load(file)).toEqual({ workers: 2 });
  });

  it('runs in another process, in the directory that is given', async () => {
    const file = write(
      'c.mjs',
      'export default { pid: process.pid, cwd: process.cwd(), argv: process.execArgv }',
    );
    const read = await load(file);
    expect(read.pid).not.toBe(process.pid);
    expect(read.cwd).toBe(directory);
  });

  it('need not wait for processes that it started', async () => {
    const start = 'spawn("sleep", ["60"], { stdio: "inherit", detached: true })';
    const file = write(
      'c.mjs',
      `import { spawn } from "node:child_process"; const { pid } = ${start}; export default { pid };`,
    );
    const { pid } = await load(file);
    expect(process.kill(pid as number, 'SIGKILL')).toBe(true);
  });

  it('of TypeScript is read where this node can, and refused clearly where not', async () => {
    const file = write('prefork.config.mts', 'const n: number = 3; export default { workers: n };');
    const canRead = process.allowedNodeEnvironmentFlags.has('--experimental-strip-types');
    const result = await load(file).catch((error: Error) => error.message);
    expect(result).toEqual(
      canRead
        ? { workers: 3 }
        : `cannot load the configuration ${file}: node ${process.versions.node} does not read TypeScript, 22.6 and later do; use prefork.config.mjs`,
    );
  });

  it.each([
    ['bad.json', '{ "workers": }', /JSON/],
    ['list.json', '[1]', /does not hold an object/],
    ['null.json', 'null', /does not hold an object/],
    ['text.mjs', 'export default "x"', /does not hold an object/],
    ['none.mjs', 'export const workers = 3', /no default export/],
    [
      'function.mjs',
      'export default () => ({})',
      /its export is a function; a configuration holds plain data/,
    ],
    ['inner.mjs', 'export default { workers: () => 3 }', /workers is a function/],
    ['nan.mjs', 'export default { workers: 0 / 0 }', /workers is NaN/],
    ['circular.mjs', 'const a = {}; a.a = a; export default a', /circular/],
    ['throws.mjs', 'throw new RangeError("no\\nway")', /RangeError: no$/],
    ['throws.cjs', 'throw "up"', /it threw up/],
    ['syntax.cjs', 'module.exports = {\n  workers: 3,,\n}', /SyntaxError: .* at \S+syntax.cjs:2$/],
    ['syntax.mjs', 'export default {\n  workers: 3,,\n}', /SyntaxError: .* at \S+syntax.mjs:2$/],
    ['missing.mjs', 'import "./nowhere.mjs"', /Cannot find module .*nowhere.mjs/],
    ['exits.mjs', 'process.exit(7)', /its process ended with 7/],
    [
      'dies.mjs',
      'console.error("last words"); process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000); await 0; await new Promise(() => {})',
      /its process ended with SIGTERM: last words/,
    ],
    ['name.yaml', 'workers: 3', /is named \.ts, /],
  ])('%s is refused in one line', async (name, text, why) => {
    const file = write(name, text);
    const error = await load(file).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'ERR_PREFORK_CONFIG', exitCode: 1 });
    expect(error.message).toMatch(why);
    expect(error.message).toContain(file);
    expect(error.message).not.toContain('\n');
  });

  it('that is not there, or no file, is refused', async () => {
    await expect(load(join(directory, 'nowhere.json'))).rejects.toThrow(/no such file or directory/);
    mkdirSync(join(directory, 'directory.json'));
    await expect(load(join(directory, 'directory.json'))).rejects.toThrow(/not a file/);
  });

  it('that never ends is given up', async () => {
    const file = write('c.mjs', 'setInterval(() => {}, 1000); await new Promise(() => {})');
    await expect(load(file, 500)).rejects.toThrow(/not loaded after 500ms/);
  });
});

describe('finding the configuration file', () => {
  it.each(CONFIG_NAMES)('%s is found', (name) => {
    expect(findConfigFile(directory)).toBe(null);
    write(name, '');
    expect(findConfigFile(directory)).toBe(join(directory, name));
  });

  it('refuses to choose between two', () => {
    write('prefork.config.js', '');
    write('prefork.config.json', '');
    expect(() => findConfigFile(directory)).toThrow(/prefork.config.js: prefork.config.json exists too/);
  });
});
