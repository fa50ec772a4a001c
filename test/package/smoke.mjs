// Runs in an empty project where the packed package was installed, with the Node.js to be tried: imports it both ways, and serves, reloads,
// upgrades and stops. Prints one line, or what went wrong.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { defineConfig, exitCodes, PreforkError } from 'prefork';
import { features, SystemError } from 'prefork/posix';
import { onDrain, ready, worker } from 'prefork/worker';

const LIMIT_MS = 60_000;
const require = createRequire(import.meta.url);

/** Named imports of an ECMAScript module are what require() gives. */
function modules() {
  assert.equal(require('prefork').defineConfig, defineConfig);
  assert.equal(require('prefork').PreforkError, PreforkError);
  assert.equal(require('prefork').exitCodes, exitCodes);
  assert.equal(require('prefork/worker').ready, ready);
  assert.equal(typeof onDrain, 'function');
  assert.equal(worker.isWorker, false);
  assert.equal(require('prefork/posix').SystemError, SystemError);
  const { version } = require('prefork/package.json');
  assert.equal(features().addonVersion, version);
  return version;
}

const bin = join(dirname(fileURLToPath(import.meta.url)), 'node_modules', '.bin', 'prefork');

/** The addon came with the package: nothing was built. */
function doctor() {
  const diagnosis = JSON.parse(execFileSync(bin, ['doctor', '--json']));
  assert.equal(diagnosis.engine, 'native', diagnosis.addon.reason);
  assert.equal(diagnosis.addon.origin, 'package');
  assert.match(execFileSync(bin, ['doctor'], { encoding: 'utf8' }), /^Engine: native .*from the package/m);
}

/** A service, and its log as events. */
async function serve() {
  const args = ['run', '--native', '--log-format', 'json', '-w', '2', '-b', '127.0.0.1:0', 'server.js'];
  const service = spawn(bin, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: LIMIT_MS });
  const exited = once(service, 'exit');
  const lines = [];
  const waiting = [];
  const reader = createInterface({ input: service.stderr });
  reader.on('line', (text) => {
    lines.push(text);
    const line = JSON.parse(text);
    const index = waiting.findIndex(({ event }) => event === line.event);
    if (index >= 0) waiting.splice(index, 1)[0].resolve(line);
  });
  const event = (name) =>
    new Promise((resolve, reject) => {
      waiting.push({ event: name, resolve });
      exited.then(() => reject(new Error(`it ended before ${name}:\n${lines.join('\n')}`)));
    });
  const serving = event('serving');
  const [address] = (await serving).addresses;
  const ask = async () => (await fetch(address)).text();
  assert.match(await ask(), /^hello from \d+$/);

  const reloaded = event('rollout-committed');
  service.kill('SIGHUP');
  await reloaded;
  assert.match(await ask(), /^hello from \d+$/);

  const upgraded = event('upgraded');
  service.kill('SIGUSR2');
  await upgraded;
  assert.match(await ask(), /^hello from \d+$/);

  service.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
}

const version = modules();
doctor();
await serve();
console.log(`prefork ${version} on Node.js ${process.versions.node}: works`);
