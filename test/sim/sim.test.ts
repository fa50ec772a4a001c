/** A few thousand schedules of the simulator; `npm run sim` runs a hundred thousand. */
import { describe, expect, test } from 'vitest';
import { FAULTS, Tally } from './faults';
import { hunt } from './mutate';
import { MUTATIONS, table } from './mutations';
import { EVENTS, runSchedule, traceOf } from './run';

const RUNS = 2000;

function failureOf(seed: number, violation: string): string {
  return `${violation}\nSchedule of seed ${seed} (SIM_SEED=${seed} npm run sim):\n${traceOf(seed).join('\n')}`;
}

describe('simulated schedules', () => {
  test('keep every invariant, come to rest and stop', { timeout: 300_000 }, () => {
    const tally = new Tally();
    for (let seed = 1; seed <= RUNS; seed++) {
      const { violation, events, tally: faults } = runSchedule(seed);
      if (violation !== null) expect.fail(failureOf(seed, violation));
      if (events < EVENTS) expect.fail(`seed ${seed}: ${events} events`);
      tally.merge(faults);
    }
    expect(tally.missing).toEqual([]);
    expect(tally.counts.size).toBe(FAULTS.length);
  });

  test('go the same way every time, and from a state that was written down and read again', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const trace = traceOf(seed);
      expect(trace.at(-1)).toBe('all was well');
      // Every state frozen on the way: step() changes nothing that it was given.
      expect(traceOf(seed, { roundTrip: true })).toEqual(trace);
    }
  });

  test('differ by seed', () => {
    expect(traceOf(1)).not.toEqual(traceOf(2));
  });
});

test('bugs planted in the core are found', { timeout: 300_000 }, () => {
  const verdicts = hunt(MUTATIONS.slice(0, 14), 300);
  const survived = verdicts.filter(({ seed }) => seed === null);
  expect(survived, table(verdicts)).toEqual([]);
});
