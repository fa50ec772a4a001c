// Builds native/fuzz/*_fuzz.cc with clang's libFuzzer under AddressSanitizer and UBSan, and runs each for a while.
//   npm run fuzz:native [-- seconds]      60 by default; skipped where there is no clang++ (CXX names another)
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const out = join(root, 'build-native', 'fuzz');
const seconds = Number(process.argv[2] ?? 60);

function findClang() {
  const versions = Array.from({ length: 12 }, (_, i) => `clang++-${24 - i}`);
  const candidates = process.env.CXX ? [process.env.CXX] : ['clang++', ...versions];
  return candidates.find((name) => {
    const { stdout, status } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    return status === 0 && stdout.includes('clang');
  });
}

function build(clang) {
  const cmakeJs = join(
    dirname(createRequire(import.meta.url).resolve('cmake-js/package.json')),
    'bin',
    'cmake-js',
  );
  const env = { ...process.env, CXX: clang };
  const prefix = join(dirname(process.execPath), '..');
  if (existsSync(join(prefix, 'include/node/node.h'))) env.npm_config_nodedir ??= prefix;
  const args = ['compile', '-d', join(root, 'native'), '-O', out, '-B', 'Debug', '-T', 'fuzz'];
  const settings = ['--CDFUZZ=ON', `--CDCMAKE_CXX_COMPILER=${clang}`];
  const command = [cmakeJs, ...args, ...settings, '-p', '2', '-l', 'warn'];
  return spawnSync(process.execPath, command, { stdio: 'inherit', env }).status === 0;
}

function run(name) {
  const found = join(out, 'corpus', name);
  mkdirSync(found, { recursive: true });
  const limits = [`-max_total_time=${seconds}`, '-max_len=20000', '-timeout=10', '-rss_limit_mb=1024'];
  const files = [`-artifact_prefix=${out}/`, found, join(here, 'corpus', name)];
  const args = [...limits, '-print_final_stats=1', ...files];
  return spawnSync(join(out, 'fuzz', `${name}_fuzz`), args, { stdio: 'inherit' }).status === 0;
}

const clang = findClang();
if (clang === undefined) {
  console.log('fuzz:native: skipped, there is no clang++ here');
  process.exit();
}
const names = readdirSync(here)
  .filter((file) => file.endsWith('_fuzz.cc'))
  .map((file) => file.slice(0, -'_fuzz.cc'.length));
const failed = build(clang) ? names.filter((name) => !run(name)) : names;
console.log(
  `fuzz:native: ${names.length - failed.length} of ${names.length} held for ${seconds} s with ${clang}`,
);
process.exitCode = failed.length > 0 ? 1 : 0;
