/**
 * `npm run sim`: many schedules, one seed each.
 *   SIM_RUNS=n      how many; default 100,000
 *   SIM_FROM=seed   the first seed; default 1
 *   SIM_SEED=seed   one schedule only, with its trace
 */
import { Tally } from './faults';
import { runSchedule, traceOf } from './run';

const MAX_FAILURES = 5;

function number(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new TypeError(`${name} must be a whole number, not ${text}`);
  return value;
}

function replay(seed: number): number {
  const lines = traceOf(seed);
  process.stdout.write(`${lines.join('\n')}\n`);
  return lines.at(-1) === 'all was well' ? 0 : 1;
}

function many(from: number, runs: number): number {
  const startedAt = process.hrtime.bigint();
  const tally = new Tally();
  const failures = new Map<string, number[]>();
  let events = 0;
  let steps = 0;
  for (let seed = from; seed < from + runs; seed++) {
    const result = runSchedule(seed);
    events += result.events;
    steps += result.steps;
    tally.merge(result.tally);
    if (result.violation !== null) {
      const seeds = failures.get(result.violation) ?? [];
      seeds.push(seed);
      failures.set(result.violation, seeds);
      if (failures.size >= MAX_FAILURES && process.env.SIM_GO_ON === undefined) break;
    }
  }
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  const cpuSeconds = process.cpuUsage().user / 1e6;
  for (const [fault, n] of tally.counts) console.log(`${String(n).padStart(12)}  ${fault}`);
  console.log(
    `${runs} schedules, ${events} events, ${steps} steps in ${seconds.toFixed(1)} s (${cpuSeconds.toFixed(1)} s of processor time)`,
  );
  for (const [violation, seeds] of failures) {
    console.error(`\nVIOLATION: ${violation}\n  ${seeds.length} seeds: ${seeds.slice(0, 10).join(' ')}`);
  }
  const first = [...failures.values()][0]?.[0];
  if (first !== undefined) {
    console.error(
      `\nSchedule of seed ${first} (SIM_SEED=${first} npm run sim):\n${traceOf(first).join('\n')}`,
    );
    return 1;
  }
  if (tally.missing.length > 0) console.error(`never happened: ${tally.missing.join(', ')}`);
  return tally.missing.length > 0 ? 1 : 0;
}

const seed = number('SIM_SEED', 0);
process.exitCode = seed > 0 ? replay(seed) : many(number('SIM_FROM', 1), number('SIM_RUNS', 100_000));
