/**
 * Trials × drivers. A pair is one run of a driver and one of another, each in a process of its own and each first in
 * every other pair; what is quoted is the median of the pairs' ratios. Results go to bench/results as JSON too.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname as parentOf, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { drivers } from './drivers/index.mjs';
import { freePort } from './drivers/process.mjs';
import { median, medianInterval } from './statistics.mjs';
import { trials } from './trials/index.mjs';

const dirname = parentOf(fileURLToPath(import.meta.url));

const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    pairs: { type: 'string' },
    seconds: { type: 'string' },
    workers: { type: 'string', default: '2' },
    trials: { type: 'string' },
    base: { type: 'string', default: 'native' },
    against: { type: 'string' },
  },
});
const pairs = Number(options.pairs ?? (options.short ? 1 : 20));
const seconds = Number(options.seconds ?? (options.short ? 1 : 2));
const warmUpSeconds = 1;
const workers = Number(options.workers);
const entry = join(dirname, 'apps', 'hello.js');
const trialNames = options.trials?.split(',') ?? Object.keys(trials);
const others = (options.against?.split(',') ?? Object.keys(drivers)).filter((name) => name !== options.base);

const results = [];
for (const trial of trialNames) {
  for (const other of others) {
    const missing = drivers[other].missing?.() ?? null;
    if (missing !== null) {
      console.log(`${trial.padEnd(18)} ${options.base} / ${other}: left out, ${missing}`);
      continue;
    }
    results.push(await compare(trial, other));
  }
}
save();

async function compare(trial, other) {
  const runs = [];
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? [options.base, other] : [other, options.base];
    const measured = {};
    for (const name of order) measured[name] = await measure(trial, name);
    runs.push({ base: measured[options.base], other: measured[other] });
  }
  const ratios = runs.map(({ base, other: against }) => base.value / against.value);
  const result = {
    trial,
    base: options.base,
    other,
    ratio: median(ratios),
    interval: medianInterval(ratios),
    runs,
  };
  report(result);
  return result;
}

async function measure(trial, name) {
  const port = await freePort();
  const service = await drivers[name].start({ entry, workers, port });
  try {
    // What is measured is a server that runs, not the compiler: the first second of any of them is slower.
    await trials[trial].run({ port, seconds: warmUpSeconds });
    return await trials[trial].run({ port, seconds });
  } finally {
    await service.stop();
  }
}

function report({ trial, base, other, ratio, interval, runs }) {
  const typical = (side) => Math.round(median(runs.map((run) => run[side].value))).toLocaleString('en');
  const [low, high] = interval.map((bound) => bound.toFixed(3));
  const { unit } = trials[trial];
  console.log(
    `${trial.padEnd(18)} ${`${base} / ${other}`.padEnd(28)} ${ratio.toFixed(3)} [${low}, ${high}]   ${typical('base')} / ${typical('other')} ${unit}`,
  );
}

function save() {
  const directory = join(dirname, 'results');
  mkdirSync(directory, { recursive: true });
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const machine = { cpu: cpus()[0]?.model, cpus: cpus().length, memoryBytes: totalmem(), kernel: release() };
  const file = join(directory, `${new Date().toISOString().replaceAll(':', '-')}.json`);
  const about = { machine, node: process.version, commit, pairs, seconds, workers };
  writeFileSync(file, `${JSON.stringify({ ...about, results }, null, 2)}\n`);
  console.log(
    `${pairs} pairs of ${seconds} s, ${workers} workers, node ${process.version}, commit ${commit}: ${file}`,
  );
}
