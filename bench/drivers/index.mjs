/** Ways of running the same server. Each starts `entry` with `workers` workers on `port`. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname as parentOf, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProcess } from './process.mjs';
import { startWatched } from './watched.mjs';

const dirname = parentOf(fileURLToPath(import.meta.url));

const root = join(dirname, '..', '..');
const preforkFile = join(root, 'dist', 'cli', 'prefork.js');
const prefork = [process.execPath, preforkFile, 'run', '--log-level', 'warn'];
const clusterApp = join(root, 'bench', 'apps', 'cluster.js');

const withPrefork =
  (...options) =>
  ({ entry, workers, port }) =>
    startProcess(
      [...prefork, ...options, '--workers', String(workers), '--bind', `127.0.0.1:${port}`, entry],
      { port },
    );

const withCluster =
  (policy) =>
  ({ entry, workers, port }) =>
    startProcess([process.execPath, clusterApp], {
      port,
      env: { POLICY: policy, WORKERS: String(workers), ENTRY: entry },
    });

export const drivers = {
  native: { start: withPrefork('--native') },
  'native-no-scoreboard': { start: withPrefork('--native', '--no-scoreboard') },
  'native-watched': {
    start: (service) => startWatched(preforkFile, (more) => withPrefork('--native', ...more)(service)),
    missing: () => (existsSync('/usr/bin/script') ? null : 'script(1) gives top a terminal'),
  },
  'native-reuse-port': { start: withPrefork('--native', '--reuse-port') },
  js: { start: withPrefork('--no-native') },
  'cluster-none': { start: withCluster('none') },
  'cluster-rr': { start: withCluster('rr') },
  pm2: { start: startPm2, missing: () => (pm2Bin() === null ? 'npm ci in bench/ installs it' : null) },
  node: { start: ({ entry, port }) => startProcess([process.execPath, entry], { port }) },
};

function pm2Bin() {
  try {
    const file = createRequire(join(root, 'bench', 'package.json')).resolve('pm2/bin/pm2-runtime');
    return existsSync(file) ? file : null;
  } catch {
    return null;
  }
}

function startPm2({ entry, workers, port }) {
  const home = join(root, 'bench', 'results', `pm2-${port}`);
  const command = [process.execPath, pm2Bin(), 'start', entry, '-i', String(workers)];
  return startProcess(command, { port, env: { PM2_HOME: home, PM2_DISCRETE_MODE: 'true' } });
}
