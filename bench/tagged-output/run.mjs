/**
 * What `--tag-output` costs: workers print lines of 80 bytes to one file as fast as they can, with the option and without. Every line has
 * to be there in the end, whole and in order; exit code 1 where one is not.
 *   node bench/tagged-output/run.mjs [--short] [--pairs 20] [--workers 2] [--lines 150000]        lines of each worker
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, medianInterval } from '../statistics.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const options = { short: { type: 'boolean' } };
for (const name of ['pairs', 'workers', 'lines']) options[name] = { type: 'string' };
const { values } = parseArgs({ options });
const pairs = Number(values.pairs ?? (values.short ? 2 : 20));
const workers = Number(values.workers ?? 2);
const lines = Number(values.lines ?? (values.short ? 20_000 : 150_000));

const ROWS = [
  { name: 'console.log(), pretty', way: 'console', format: 'pretty' },
  { name: 'console.log(), json', way: 'console', format: 'json' },
  { name: "a command's, piped, pretty", way: 'command', format: 'pretty' },
];
/** What stands before and after the program's own line. */
const TAGS = {
  pretty: /^\[slot (\d+) pid \d+ gen 1\] (.*)$/,
  json: /^\{"time":"[^"]+","slot":(\d+),"pid":\d+,"generation":1,"stream":"stdout","msg":"(.*)"\}$/,
};
const LINE_BYTES = 80;
const LINE = /^(\d+) (\d{12})x{65}$/;

/** Lines a second and processor time a line of one service, all of whose workers print. */
async function measure(row, isTagged) {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-bench-'));
  try {
    const file = join(directory, 'output');
    await serve(row, isTagged, directory, file);
    const taken = Array.from({ length: workers }, (_, slot) =>
      JSON.parse(readFileSync(join(directory, 'results', String(slot)), 'utf8')),
    );
    // What is passed on untagged may be cut anywhere: the lines of two workers are mixed.
    if (isTagged || row.way === 'console') check(file, isTagged ? TAGS[row.format] : null);
    else if (statSync(file).size !== workers * lines * LINE_BYTES) throw new Error('some of it is missing');
    const ms = Math.max(...taken.map(({ toMs }) => toMs)) - Math.min(...taken.map(({ fromMs }) => fromMs));
    const cpuUs = taken.reduce((sum, each) => sum + each.cpuUs, 0);
    return { linesPerSecond: (workers * lines * 1000) / ms, usPerLine: cpuUs / (workers * lines) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Until all workers have printed, and it has stopped. */
async function serve({ way, format }, isTagged, directory, file) {
  const results = join(directory, 'results');
  mkdirSync(results);
  const args = ['run', '--native', '--workers', workers, '--ready', 'message', '--log-format', format];
  if (isTagged) args.push('--tag-output');
  const output = openSync(file, 'a');
  const manager = spawn(
    process.execPath,
    [join(here, '../../dist/cli/prefork.js'), ...args, join(here, 'printer.cjs'), way, lines].map(String),
    { stdio: ['ignore', output, 'pipe'], env: { ...process.env, BENCH_RESULTS: results } },
  );
  closeSync(output);
  const exited = once(manager, 'exit');
  const log = [];
  // Whatever the format is.
  createInterface({ input: manager.stderr }).on('line', (line) => {
    log.push(line);
    if (/running with \d+ workers/.test(line)) manager.kill('SIGTERM');
  });
  const [code] = await exited;
  if (code !== 0) throw new Error(`the manager ended with ${code}:\n${log.join('\n')}`);
}

/** Every line of every worker whole, once and in its order. */
function check(file, tag) {
  const text = readFileSync(file, 'latin1');
  const next = new Array(workers).fill(0);
  let at = 0;
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
    const line = text.slice(at, end);
    at = end + 1;
    const [, slot, own] = tag === null ? [line, undefined, line] : (tag.exec(line) ?? []);
    const [, from, number] = LINE.exec(own ?? '') ?? [];
    if (from === undefined || (tag !== null && from !== slot) || Number(number) !== next[from]++)
      throw new Error(`line ${Number(number)} where ${next[from] - 1} was to come: ${line}`);
  }
  if (at !== text.length || next.some((count) => count !== lines))
    throw new Error(`of ${lines} lines each there are ${next.join(' and ')}`);
}

/** The median and the interval of the median. */
const summary = (numbers, digits) =>
  `${median(numbers).toFixed(digits)} (${medianInterval(numbers)
    .map((value) => value.toFixed(digits))
    .join(' to ')})`;

async function pairsOf(row) {
  const tagged = [];
  const plain = [];
  for (let pair = 0; pair < pairs; pair++) {
    for (const isTagged of pair % 2 === 0 ? [true, false] : [false, true])
      (isTagged ? tagged : plain).push(await measure(row, isTagged));
  }
  const ratios = (key) => tagged.map((each, index) => each[key] / plain[index][key]);
  return {
    printed: row.name,
    'lines/s untagged': Math.round(median(plain.map((each) => each.linesPerSecond))),
    'lines/s tagged': Math.round(median(tagged.map((each) => each.linesPerSecond))),
    'ratio (95 %)': summary(ratios('linesPerSecond'), 2),
    'µs/line untagged': median(plain.map((each) => each.usPerLine)).toFixed(2),
    'µs/line tagged': median(tagged.map((each) => each.usPerLine)).toFixed(2),
  };
}

try {
  const results = [];
  for (const row of ROWS) results.push(await pairsOf(row));
  console.table(results);
  console.log(
    `${pairs} pairs, ${workers} workers × ${lines} lines; every line whole and in order; Node.js ${process.version}, ${cpus()[0]?.model}`,
  );
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
