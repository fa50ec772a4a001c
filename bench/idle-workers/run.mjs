/**
 * What a manager uses while its workers are idle and beat: processor time of `prefork run` alone, by the kernel's account.
 *   node bench/idle-workers/run.mjs [workers] [seconds] [options of prefork run…]       1000 workers, 30 s
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const { ControlClient } = createRequire(import.meta.url)('../../dist/control/client.js');
const here = dirname(fileURLToPath(import.meta.url));
const [workers = '1000', seconds = '30', ...options] = process.argv.slice(2);
/** What the start has left to do is not measured. */
const SETTLE_MS = 5000;

const directory = mkdtempSync(join(tmpdir(), 'prefork-bench-'));
const stub = join(directory, 'stub');
execFileSync('cc', ['-O2', '-o', stub, join(here, 'stub.c')]);

const run = [join(here, '../../dist/cli/prefork.js'), 'run', '--native', '--log-format', 'json'];
const control = join(directory, 'control');
const ready = [
  '--control',
  control,
  '--ready',
  'start',
  '--workers',
  workers,
  '--graceful-timeout',
  '5s',
  ...options,
];
const manager = spawn(
  process.execPath,
  ['--require', join(here, 'stub.cjs'), ...run, ...ready, join(here, '../apps/hello.js')],
  { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, BENCH_STUB: stub } },
);
const exited = once(manager, 'exit');
let last = '';
const started = new Promise((resolve) => {
  createInterface({ input: manager.stderr }).on('line', (line) => {
    last = line;
    if (line.includes('"event":"started"')) resolve(true);
  });
});

/** Nanoseconds on a processor, proc_pid_schedstat(5). */
const usedNs = () => Number(readFileSync(`/proc/${manager.pid}/schedstat`, 'utf8').split(' ')[0]);
const kib = (name) =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${manager.pid}/status`, 'utf8'))[1]);

/** That it did read what they tell. */
async function checkRows() {
  const client = await ControlClient.connect(control);
  const status = await client.ask({ do: 'status' });
  client.close();
  const beat = status.workers.filter(({ row }) => row !== null && row.heartbeatMs < 5000).length;
  if (beat !== Number(workers)) throw new Error(`${beat} of ${workers} workers beat`);
}

try {
  if ((await Promise.race([started, exited])) !== true) throw new Error(`the manager ended: ${last}`);
  await pause(SETTLE_MS);
  const [beforeNs, fromMs] = [usedNs(), performance.now()];
  await pause(Number(seconds) * 1000);
  const [ns, ms] = [usedNs() - beforeNs, performance.now() - fromMs];
  await checkRows();
  const share = ((ns / 1e6 / ms) * 100).toFixed(3);
  console.log(
    `${workers} idle workers: the manager used ${(ns / 1e6).toFixed(1)} ms in ${(ms / 1000).toFixed(1)} s, ${share} % of a core; RSS ${(kib('VmRSS') / 1024).toFixed(0)} MiB`,
  );
  console.log(
    `Node.js ${process.version}, ${cpus()[0]?.model}${options.length > 0 ? `, ${options.join(' ')}` : ''}`,
  );
} finally {
  manager.kill('SIGTERM');
  await exited;
  rmSync(directory, { recursive: true });
}
