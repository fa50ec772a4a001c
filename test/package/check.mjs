// `npm run package:check [major…]`: packs as for a release, has the package looked at by publint and attw, and tries it on each Node.js major.
// `npm run package:check here`: only packs and tries it, on the Node.js that runs this: for machines that the others have no binaries for.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack, run, tryPackage } from './project.mjs';

const majors = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24', '26'];
/** Not among this tree's dependencies: they would be two thirds of an installation that nobody else needs. */
const CHECKERS = ['publint@0.3', '@arethetypeswrong/cli@0.18'];

/** An empty folder with packages in it. */
function fetched(directory, ...packages) {
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), '{ "private": true }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages], { cwd: directory });
  return join(directory, 'node_modules');
}

function haveLookedAt(tarball) {
  const bin = join(fetched(join(directory, 'checkers'), ...CHECKERS), '.bin');
  console.log(run(join(bin, 'publint'), ['run', '--strict', tarball]).trim());
  console.log(run(join(bin, 'attw'), [tarball, '--no-emoji', '--format', 'table-flipped']).trim());
}

/** As npm has them. */
function officialNode(major) {
  const name = `node-${process.platform}-${process.arch}`;
  const modules = fetched(join(directory, `node-${major}`), `${name}@${major}`);
  return join(modules, name, 'bin', 'node');
}

const directory = mkdtempSync(join(tmpdir(), 'prefork-pack-'));
try {
  const { tarball, files } = pack(directory, { scripts: true });
  console.log(
    `packed ${files.length} files, with ${files.filter((file) => file.startsWith('prebuilds/')).join(', ')}`,
  );
  if (majors[0] === 'here') console.log(tryPackage(tarball, process.execPath));
  else {
    haveLookedAt(tarball);
    for (const major of majors) console.log(tryPackage(tarball, officialNode(major)));
  }
} finally {
  rmSync(directory, { recursive: true });
}
