/**
 * What `npm pack` makes is all that a user needs: installed from the tarball into an empty folder, without a compiler, it serves. On other
 * versions of Node.js, and with the checkers of types and exports: `npm run package:check`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../helpers/service';

interface Project {
  pack(directory: string, options: { scripts: boolean }): { tarball: string; files: string[] };
  tryPackage(tarball: string, node: string): string;
}

const built = existsSync(join(root, 'build', 'Release', 'prefork.node'));

describe.skipIf(!built)('the package (the addon must be built here)', () => {
  let project: Project;
  let directory: string;
  let packed: ReturnType<Project['pack']>;

  beforeAll(async () => {
    project = (await import(join(root, 'test', 'package', 'project.mjs'))) as Project;
    directory = mkdtempSync(join(tmpdir(), 'prefork-pack-'));
    packed = project.pack(directory, { scripts: false });
  }, 180_000);
  afterAll(() => rmSync(directory, { recursive: true }));

  it('has what it takes to run and to build, and nothing else', () => {
    const tops = new Set(packed.files.map((file) => file.split('/')[0]));
    const expected = [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'binding.gyp',
      'dist',
      'native',
      'package.json',
      'prebuilds',
    ];
    expect([...tops].sort()).toEqual(expected);
    expect(packed.files.filter((file) => file.startsWith('native/test/'))).toEqual([]);
    const sources = readFileSync(join(root, 'native', 'sources.txt'), 'utf8')
      .trim()
      .split('\n');
    for (const source of sources) expect(packed.files).toContain(source.trim());
  });

  it('installs without a compiler, and serves, reloads, upgrades and stops', { timeout: 180_000 }, () => {
    const node = process.env.PREFORK_TEST_NODE ?? process.execPath;
    expect(project.tryPackage(packed.tarball, node)).toMatch(/^prefork \S+ on Node\.js \S+: works$/);
  });
});

it.each(['linux-x64-musl', 'linux-arm64-musl'])('says in one line which compiler %s is missing', (target) => {
  const prebuild = join(root, 'native', 'prebuild.mjs');
  const env = { ...process.env, ZIG: '/nowhere/zig' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [prebuild, target], {
    env,
    encoding: 'utf8',
  });
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(new RegExp(`^prefork: the addon for ${target} takes /nowhere/zig, .*\\n$`));
});
