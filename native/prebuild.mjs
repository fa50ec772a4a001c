// Builds addons for packages: `node native/prebuild.mjs [target…]`, into prebuilds/ under node-gyp-build's conventions. Without a
// target: for this machine (what `npm pack` does). Others are cross-built, with a compiler that has to be installed.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
const prebuildify = promisify(require('prebuildify'));

/** Zig has the C library and a C++ library of each target in itself; ZIG may name it. */
const zig = process.env.ZIG ?? 'zig';
const zigTools = (triple) => ({
  CC: `${zig} cc -target ${triple}`,
  CXX: `${zig} c++ -target ${triple}`,
  AR: `${zig} ar`,
  // Its linker strips by itself when told.
  LDFLAGS: '-s',
});

/** prebuildify's options and the compiler's variables. */
const targets = {
  'linux-arm64': {
    arch: 'arm64',
    libc: 'glibc',
    stripBin: 'aarch64-linux-gnu-strip',
    tools: { CC: 'aarch64-linux-gnu-gcc', CXX: 'aarch64-linux-gnu-g++', AR: 'aarch64-linux-gnu-ar' },
  },
  'linux-x64-musl': { arch: 'x64', libc: 'musl', tools: zigTools('x86_64-linux-musl') },
  'linux-arm64-musl': { arch: 'arm64', libc: 'musl', tools: zigTools('aarch64-linux-musl') },
};
const here = { arch: process.arch, stripBin: 'strip', tools: {} };

/** The sources alone, elsewhere: a build here would take away the one in use. */
function copyOfSources() {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-prebuild-'));
  for (const name of ['package.json', 'binding.gyp', 'native'])
    cpSync(join(root, name), join(directory, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  return directory;
}

/** One line in the place of what node-gyp would say. */
function checkCompiler(name, { CXX }) {
  const compiler = CXX?.split(' ')[0];
  if (compiler === undefined || spawnSync(compiler, { stdio: 'ignore' }).error === undefined) return;
  console.error(
    `prefork: the addon for ${name} takes ${compiler}, which does not run here (docs/packaging.md says how to get it)`,
  );
  process.exit(1);
}

async function prebuild(name, { tools, stripBin, ...options }) {
  checkCompiler(name, tools);
  const cwd = copyOfSources();
  // Headers that lie beside this Node need not be fetched.
  const prefix = dirname(dirname(process.execPath));
  const hasHeaders = existsSync(join(prefix, 'include/node/node_api.h'));
  const nodedir = process.env.npm_config_nodedir ?? (hasHeaders ? prefix : undefined);
  Object.assign(process.env, tools, nodedir && { npm_config_nodedir: nodedir }, { JOBS: 'max' });
  try {
    await prebuildify({
      ...options,
      cwd,
      out: root,
      targets: [process.version],
      napi: true,
      tagLibc: true,
      strip: stripBin !== undefined,
      ...(stripBin !== undefined && { stripBin }),
      quiet: process.env.npm_config_loglevel === 'silent',
    });
  } finally {
    rmSync(cwd, { recursive: true });
  }
  console.error(`prefork: built the addon for ${name}`);
}

const [name, ...others] = process.argv.slice(2);
if (name === undefined) {
  await prebuild(`this machine (${process.platform}-${process.arch})`, here);
} else if (others.length > 0) {
  // Each in a process of its own: the variables of one compiler are not for the next.
  for (const each of [name, ...others]) {
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), each], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exit(1);
  }
} else if (targets[name] === undefined) {
  console.error(`prefork: no target ${name}; there are ${Object.keys(targets).join(', ')}`);
  process.exit(1);
} else {
  await prebuild(name, targets[name]);
}
