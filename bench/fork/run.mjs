/**
 * What loading a program once and forking it brings, against starting each worker by itself:
 *   start   from the start of a worker to its listening
 *   memory  sum of PSS of the whole tree, when ready and after requests
 *   load    requests/s and p99 of a handler that allocates, pair by pair
 *   floor   a fork, until its child stands, against that of a C program with as much memory in as many mappings; needs cc
 * Results go to bench/results as JSON too. `node bench/fork/run.mjs [--short] [--parts start,memory,load,floor]`
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort } from '../drivers/process.mjs';
import { median, medianInterval } from '../statistics.mjs';
import { trials } from '../trials/index.mjs';
import { requests } from './load.mjs';
import { pssKb, tree } from './processes.mjs';
import { services } from './services.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    parts: { type: 'string', default: 'start,memory,load,floor' },
    apps: { type: 'string', default: 'small,heavy' },
    workers: { type: 'string', default: '8' },
    /** requests a worker before its memory is measured again */
    requests: { type: 'string' },
    pairs: { type: 'string' },
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string' },
  },
});
const workers = Number(options.workers);
const amounts = (options.requests ?? (options.short ? '200' : '200,100000')).split(',').map(Number);
const pairs = Number(options.pairs ?? (options.short ? 2 : 20));
const rounds = Number(options.rounds ?? (options.short ? 5 : 20));

const parts = { start: measureStart, memory: measureMemory, load: measureLoad, floor: measureFloor };

const appNames = options.apps.split(',').filter((name) => {
  const missing = name === 'heavy' && !installed(['typescript', 'express', 'fastify', 'zod']);
  if (missing) console.log('heavy: left out, npm ci in bench/ installs what it loads');
  return !missing;
});
const results = [];
for (const part of options.parts.split(',')) {
  for (const app of appNames) {
    const result = { part, app, ...(await parts[part](join(here, 'apps', `${app}.cjs`), app)) };
    results.push(result);
    console.log(`${part} ${app}: ${JSON.stringify(summary(result))}`);
  }
}
save();

/** Alternately: a worker of a forkserver, a worker that the manager spawns, child_process.fork. */
async function measureStart(entry) {
  const names = ['preload', 'spawn'];
  const running = {};
  for (const name of names)
    running[name] = await services[name].start({ entry, workers: 1, port: await freePort() });
  const took = { preload: [], spawn: [], child_process: [] };
  const pids = Object.fromEntries(names.map((name) => [name, running[name].pids[0]]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const { pid, afterMs } = await running[name].replace(pids[name]);
      pids[name] = pid;
      took[name].push(afterMs);
    }
    took.child_process.push(await forkToListening(entry));
  }
  for (const name of names) await running[name].stop();
  const ratioTo = (name) => median(took.preload.map((ms, i) => ms / took[name][i]));
  return {
    took,
    medianMs: mapValues(took, median),
    ratios: { spawn: ratioTo('spawn'), child_process: ratioTo('child_process') },
  };
}

async function forkToListening(entry) {
  const port = await freePort();
  const start = performance.now();
  const child = fork(entry, { env: { ...process.env, PORT: String(port) } });
  await once(child, 'message');
  const took = performance.now() - start;
  child.kill('SIGKILL');
  await once(child, 'exit');
  return took;
}

async function measureMemory(entry) {
  const pss = {};
  for (const [name, { start, missing }] of Object.entries(services)) {
    if (missing?.() != null) continue;
    const port = await freePort();
    const service = await start({ entry, workers, port });
    await settled(service.pid);
    pss[name] = { 'when ready': treePss(service.pid) };
    let done = 0;
    for (const amount of amounts) {
      await requests(port, (amount - done) * workers);
      done = amount;
      pss[name][`after ${amount} a worker`] = treePss(service.pid);
    }
    await service.stop();
  }
  const ratios = mapValues(pss.preload, (kb, state) => kb / pss.cluster[state]);
  return { workers, pssKb: pss, ratiosToCluster: ratios };
}

/** Until all workers are there: a first answer says that one is. */
async function settled(pid) {
  while (tree(pid).length < workers + 1) await new Promise((resolve) => setTimeout(resolve, 50));
  let before = 0;
  for (let now = treePss(pid); Math.abs(now - before) > now / 100; now = treePss(pid)) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function treePss(pid) {
  return tree(pid).reduce((sum, member) => sum + pssKb(member), 0);
}

async function measureLoad(entry) {
  const names = ['preload', 'spawn'];
  const running = {};
  const ports = {};
  for (const name of names) {
    ports[name] = await freePort();
    running[name] = await services[name].start({ entry, workers: 2, port: ports[name] });
  }
  const run = (name, seconds) => trials['keep-alive'].run({ port: ports[name], seconds });
  // What is compiled late is compiled by now.
  for (const name of names) await run(name, 3);
  const runs = [];
  for (let pair = 0; pair < pairs; pair++) {
    const measured = {};
    for (const name of pair % 2 === 0 ? names : names.toReversed()) {
      measured[name] = await run(name, Number(options.seconds));
    }
    runs.push(measured);
  }
  for (const name of names) await running[name].stop();
  const rates = runs.map(({ preload, spawn }) => preload.value / spawn.value);
  const latencies = runs.map(({ preload, spawn }) => preload.p99Ms / spawn.p99Ms);
  return {
    runs,
    rate: { ratio: median(rates), interval: medianInterval(rates) },
    p99: { ratio: median(latencies), interval: medianInterval(latencies) },
  };
}

async function measureFloor(_entry, app) {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-floor-'));
  try {
    const floor = join(directory, 'floor');
    execFileSync(process.env.CC ?? 'cc', ['-O2', '-o', floor, join(here, 'floor.c')]);
    const compared = Array.from({ length: rounds }, () => compareForks(app, floor));
    const ratio = (to) => median(compared.map(({ tookNs, floorNs }) => tookNs / floorNs[to]));
    return { rounds: compared, ratios: { all: ratio('all'), writable: ratio('writable') } };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** All of what a fork of Node takes, until the child stands, and the fork(2) of C programs with as much memory in as many mappings. */
function compareForks(app, floor) {
  const env = { ...process.env, PORT: '0' };
  const run = (file, args) => JSON.parse(execFileSync(file, [...args, '20'], { encoding: 'utf8', env }));
  const { took, ...memory } = run(process.execPath, [
    join(here, 'forks.cjs'),
    join(here, 'apps', `${app}.cjs`),
  ]);
  const floorOf = ({ mappings, bytes }) => median(run(floor, [String(mappings), String(bytes)]));
  return { memory, tookNs: median(took), floorNs: mapValues(memory, floorOf) };
}

function installed(names) {
  const require = createRequire(import.meta.url);
  try {
    for (const name of names) require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

function mapValues(object, convert) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, convert(value, key)]));
}

/** Without the single runs. */
function summary({ part, app, took, runs, ...rest }) {
  return rest;
}

function save() {
  const directory = join(here, '..', 'results');
  mkdirSync(directory, { recursive: true });
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const machine = {
    cpu: cpus()[0]?.model,
    cpus: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    loadavg: loadavg(),
  };
  const file = join(directory, `fork-${new Date().toISOString().replaceAll(':', '-')}.json`);
  writeFileSync(file, `${JSON.stringify({ machine, node: process.version, commit, results }, null, 2)}\n`);
  console.log(`node ${process.version}, commit ${commit}, load ${loadavg()[0].toFixed(1)}: ${file}`);
}
