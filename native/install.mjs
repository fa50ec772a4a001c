// The package's install script. A prebuilt addon that loads is taken as it is (node-gyp-build's conventions); else it
// is built; where that cannot be, one line says so and the installation goes on, with the js engine.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const TIMEOUT_MS = 15 * 60_000;
/** Any one of each list is enough. */
const TOOLS = {
  'a C++ compiler': ['c++', 'g++', 'clang++'],
  make: ['make', 'gmake'],
  python3: ['python3', 'python'],
};

/** Whether an addon of this very version loads. */
function loads() {
  try {
    const addon = createRequire(import.meta.url)('node-gyp-build')(root);
    return (
      addon.features().addonVersion === JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
    );
  } catch {
    return false;
  }
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function missingTools() {
  const directories = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const found = (name) => directories.some((directory) => isExecutable(join(directory, name)));
  return Object.keys(TOOLS).filter((tool) => !TOOLS[tool].some(found));
}

/** null when it was built; else why not, in one line. */
function build() {
  const missing = missingTools();
  if (missing.length > 0) return `${missing.join(' and ')} not found`;
  const args = ['rebuild', '--jobs=max'];
  // Headers that lie beside this Node need not be fetched.
  const prefix = dirname(dirname(process.execPath));
  const configured = process.env.npm_config_nodedir !== undefined;
  if (!configured && existsSync(join(prefix, 'include/node/node_api.h'))) args.push(`--nodedir=${prefix}`);
  // npm names its own node-gyp.
  const nodeGyp = process.env.npm_config_node_gyp;
  const [file, ...first] = nodeGyp ? [process.execPath, nodeGyp] : ['node-gyp'];
  const options = {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
  };
  const result = spawnSync(file, [...first, ...args], options);
  if (result.status === 0) return loads() ? null : 'it was built but does not load';
  return result.error?.message ?? reasonIn(`${result.stdout}\n${result.stderr}`);
}

/** The first complaint of compiler, make or gyp that says something. */
function reasonIn(output) {
  const lines = output.split('\n').map((line) => line.replace(/^(gyp|npm) (ERR!|error)\s*/i, '').trim());
  return lines.find((line) => /error|not found|no such file/i.test(line)) ?? 'node-gyp failed';
}

if (!loads() || process.env.npm_config_build_from_source === 'true') {
  const reason = build();
  if (reason !== null) {
    console.error(
      `prefork: the addon was not built (${reason}); the js engine will be used. ` +
        'To get the addon, install a C++ compiler, make and python3, then run: npm rebuild prefork --foreground-scripts',
    );
  }
}
