/**
 * `npm run sim`: many schedules, one seed each.
 *   SIM_RUNS=n      how many; default 100,000
 *   SIM_FROM=seed   the first seed; default 1
 *   SIM_SEED=seed   one schedule only, with its trace
 */
import { Tally } from './faults';
import { type RunResult, runSchedule, traceOf } from './run';

/** Different violations after which a run gives up. */
const MAX_FAILURES = 5;
/** Every so many schedules one runs a second time, with every state frozen, written down and read again. */
const ROUND_TRIP_EVERY = 50;
/** In so many schedules every fault must have happened. */
const FAULTS_HAPPEN_IN = 2000;

function number(name: string, fallback: number): number {
  const value = Number(process.env[name] ?? fallback);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`${name} must be a whole number, not ${process.env[name]}`);
}

function run(seed: number): RunResult {
  const result = runSchedule(seed);
  if (seed % ROUND_TRIP_EVERY !== 0 || result.violation !== null) return result;
  const again = runSchedule(seed, { roundTrip: true });
  const same = again.events === result.events && again.steps === result.steps && again.lives === result.lives;
  const violation = same ? again.violation : 'it went another way from states that were written down';
  return { ...result, violation };
}

class Campaign {
  readonly #tally = new Tally();
  /** seeds by violation */
  readonly #failures = new Map<string, number[]>();
  #runs = 0;
  #events = 0;
  #steps = 0;

  go(from: number, runs: number): void {
    for (let seed = from; seed < from + runs && this.#failures.size < MAX_FAILURES; seed++) {
      const { violation, events, steps, tally } = run(seed);
      this.#runs++;
      this.#events += events;
      this.#steps += steps;
      this.#tally.merge(tally);
      if (violation !== null) this.#failures.set(violation, [...(this.#failures.get(violation) ?? []), seed]);
    }
  }

  report(): void {
    for (const [fault, n] of this.#tally.counts) console.log(`${String(n).padStart(12)}  ${fault}`);
    const seconds = process.uptime().toFixed(1);
    const cpuSeconds = (process.cpuUsage().user / 1e6).toFixed(1);
    console.log(
      `${this.#runs} schedules, ${this.#events} events, ${this.#steps} steps in ${seconds} s (${cpuSeconds} s of processor time)`,
    );
    for (const [violation, seeds] of this.#failures) {
      console.error(`\nVIOLATION: ${violation}\n  ${seeds.length} seeds: ${seeds.slice(0, 10).join(' ')}`);
    }
    const first = [...this.#failures.values()][0]?.[0];
    if (first === undefined) return;
    console.error(
      `\nSchedule of seed ${first} (SIM_SEED=${first} npm run sim):\n${traceOf(first).join('\n')}`,
    );
  }

  get ok(): boolean {
    if (this.#failures.size > 0) return false;
    const { missing } = this.#tally;
    if (missing.length > 0) console.error(`never happened: ${missing.join(', ')}`);
    return missing.length === 0 || this.#runs < FAULTS_HAPPEN_IN;
  }
}

function replay(seed: number): boolean {
  const lines = traceOf(seed);
  process.stdout.write(`${lines.join('\n')}\n`);
  return lines.at(-1) === 'all was well';
}

function many(): boolean {
  const campaign = new Campaign();
  campaign.go(number('SIM_FROM', 1), number('SIM_RUNS', 100_000));
  campaign.report();
  return campaign.ok;
}

const seed = number('SIM_SEED', 0);
process.exitCode = (seed > 0 ? replay(seed) : many()) ? 0 : 1;
