// An empty project that installs a packed prefork as its users do, on a machine without a compiler.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
export const root = join(here, '..', '..');

/** What npm's scripts and the smoke test run, and nothing that builds. */
const PROGRAMS = ['sh', 'env', 'true'];
const SERVER = `require('node:http')
  .createServer((_request, response) => response.end('hello from ' + process.pid))
  .listen(process.env.PORT);
`;

function programFile(name) {
  const file = (process.env.PATH ?? '')
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(existsSync);
  if (file === undefined) throw new Error(`${name} is not on the PATH`);
  return file;
}

/** Output of a command that has to succeed. */
export function run(file, args, options = {}) {
  const result = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (result.status === 0) return result.stdout;
  const how = result.error?.message ?? `ended with ${result.signal ?? result.status}`;
  throw new Error(`${[file, ...args].join(' ')}: ${how}\n${result.stdout}${result.stderr}`);
}

/** The script of the npm on the PATH. */
const npmScript = realpathSync(programFile('npm'));

/** Packs this tree from a copy, so that its own build is left alone. The tarball's path, in `directory`. */
export function pack(directory, { scripts }) {
  const copy = join(directory, 'tree');
  mkdirSync(copy);
  const names = ['package.json', 'binding.gyp', 'native', 'src', 'README.md', 'LICENSE', 'CHANGELOG.md'];
  const forBuild = scripts ? ['tsconfig.json', 'tsconfig.build.json'] : ['dist'];
  for (const name of [...names, ...forBuild, 'prebuilds']) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  if (!scripts) addBuiltAddon(copy);
  const args = [
    'pack',
    '--json',
    '--loglevel=error',
    ...(scripts ? [] : ['--ignore-scripts']),
    '--pack-destination',
    directory,
  ];
  const output = run('npm', args, { cwd: copy });
  // Scripts print before it.
  const [{ filename, files }] = JSON.parse(output.slice(output.search(/^\[$/m)));
  return { tarball: join(directory, filename), files: files.map(({ path }) => path) };
}

/** The addon that `npm ci` has built from these sources, as the package's own. */
function addBuiltAddon(copy) {
  const directory = join(copy, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(directory, { recursive: true });
  copyFileSync(join(root, 'build', 'Release', 'prefork.node'), join(directory, 'prefork.glibc.node'));
}

/** Installs the tarball into an empty folder with `node`, no compiler in reach, and runs the smoke test there. What it printed. */
export function tryPackage(tarball, node) {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-package-'));
  try {
    const bin = join(directory, 'bin');
    mkdirSync(bin);
    symlinkSync(node, join(bin, 'node'));
    for (const name of PROGRAMS) symlinkSync(programFile(name), join(bin, name));
    const project = join(directory, 'project');
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
    writeFileSync(join(project, 'server.js'), SERVER);
    copyFileSync(join(here, 'smoke.mjs'), join(project, 'smoke.mjs'));
    // What the npm that runs this says of itself is not for the other.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
    const options = { cwd: project, env: { ...env, PATH: bin } };
    const install = [
      'install',
      '--no-audit',
      '--no-fund',
      '--prefer-offline',
      '--foreground-scripts',
      tarball,
    ];
    const said = run(node, [npmScript, ...install], options);
    const result = run(node, ['smoke.mjs'], { ...options, timeout: 120_000 });
    if (existsSync(join(project, 'node_modules', 'prefork', 'build')))
      throw new Error(`something was built:\n${said}`);
    return result.trim();
  } finally {
    rmSync(directory, { recursive: true });
  }
}
