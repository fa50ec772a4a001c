// Builds native/test/*_test.cc with cmake-js under sanitizers and runs them, each in a process of its own.
//   npm run test:native [-- name…]      SANITIZE=address,undefined (default); empty for none
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sanitize = process.env.SANITIZE ?? 'address,undefined';
const out = join(root, 'build-native', sanitize.replaceAll(',', '-') || 'plain');
const wanted = process.argv.slice(2);
/** A test that hangs is ended: each takes seconds. */
const TIMEOUT_MS = 120_000;

function build() {
  const require = createRequire(import.meta.url);
  const cmakeJs = join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js');
  const env = { ...process.env };
  // cmake-js fetches Node's headers, which these tests do without; those that lie beside this Node save the way.
  const prefix = join(dirname(process.execPath), '..');
  if (existsSync(join(prefix, 'include/node/node.h'))) env.npm_config_nodedir ??= prefix;
  const args = ['compile', '-d', join(root, 'native'), '-O', out, '-B', 'Debug', `--CDSANITIZE=${sanitize}`];
  return (
    spawnSync(process.execPath, [cmakeJs, ...args, '-p', '2', '-l', 'warn'], { stdio: 'inherit', env })
      .status === 0
  );
}

function run(name) {
  const env = {
    ...process.env,
    ASAN_OPTIONS: 'detect_leaks=1:abort_on_error=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  };
  const result = spawnSync(join(out, 'tests', name), {
    stdio: ['ignore', 'inherit', 'inherit'],
    env,
    timeout: TIMEOUT_MS,
  });
  const passed = result.status === 0;
  if (!passed)
    console.error(`${name}: ${result.error?.message ?? result.signal ?? `exit code ${result.status}`}`);
  return passed;
}

if (!build()) {
  console.error('test:native: the build failed');
  process.exit(1);
}
const names = readdirSync(join(root, 'native/test'))
  .filter((file) => file.endsWith('_test.cc'))
  .map((file) => file.slice(0, -'.cc'.length))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .sort();
const failed = names.filter((name) => !run(name));
console.log(
  `test:native: ${names.length - failed.length} of ${names.length} passed${sanitize ? ` under ${sanitize}` : ''}`,
);
process.exitCode = failed.length > 0 || names.length === 0 ? 1 : 0;
