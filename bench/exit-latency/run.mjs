// Exit latency: from SIGKILL to the callback, for watchExit, child_process and a C program that blocks in waitpid. Each driver
// in a process of its own, alternating; ratios round by round, the median of them quoted.
//   node bench/exit-latency/run.mjs [--rounds 9] [--trials 60] [--json]
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    trials: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const trials = Number(options.trials);
/** The first of each process are slow for everybody: caches, the JIT. */
const WARM_UP = 20;
const here = fileURLToPath(new URL('.', import.meta.url));

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function compile(directory, name) {
  const out = join(directory, name);
  execFileSync(process.env.CC ?? 'cc', ['-O2', '-Wall', '-Wextra', '-o', out, join(here, `${name}.c`)]);
  return out;
}

/** Medians in microseconds, by driver. */
function runRound(drivers) {
  const entries = Object.entries(drivers).map(([name, [file, ...args]]) => {
    const output = execFileSync(file, [...args, String(trials + WARM_UP)], { encoding: 'utf8' });
    return [name, median(JSON.parse(output).slice(WARM_UP))];
  });
  return Object.fromEntries(entries);
}

function measure() {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-exit-latency-'));
  try {
    const killer = compile(directory, 'killer');
    const driver = [process.execPath, join(here, 'driver.mjs')];
    const drivers = {
      c: [compile(directory, 'waitpid'), killer],
      native: [...driver, 'native', killer],
      child_process: [...driver, 'child_process', killer],
    };
    return Array.from({ length: rounds }, () => runRound(drivers));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const results = measure();
const of = (pick) => {
  const numbers = results.map(pick);
  return { median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers) };
};
const summary = {
  machine: { cpu: cpus()[0]?.model, cpus: cpus().length, kernel: release(), node: process.version },
  rounds,
  trials,
  us: { c: of((r) => r.c), native: of((r) => r.native), child_process: of((r) => r.child_process) },
  ratioToC: { native: of((r) => r.native / r.c), child_process: of((r) => r.child_process / r.c) },
  /** what the event loop, the addon and JavaScript add to waitpid's return */
  ownShareUs: of((r) => r.native - r.c),
};

if (options.json) {
  console.log(JSON.stringify({ ...summary, results }, null, 2));
} else {
  const line = (name, { median: m, min, max }, unit, digits) =>
    console.log(
      `${name.padEnd(28)} ${m.toFixed(digits)} ${unit} (${min.toFixed(digits)} to ${max.toFixed(digits)})`,
    );
  console.log(
    `exit latency, medians of ${trials}, ${rounds} rounds; Node ${process.version}, Linux ${release()}`,
  );
  for (const [name, value] of Object.entries(summary.us)) line(name, value, 'µs', 0);
  for (const [name, value] of Object.entries(summary.ratioToC)) line(`${name} / c`, value, '×', 2);
  line('native − c', summary.ownShareUs, 'µs', 0);
}
