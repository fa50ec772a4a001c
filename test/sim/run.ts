/** One schedule from its seed to its end. */
import { initialState } from '../../src/core/state';
import { step } from '../../src/core/step';
import type { Tally } from './faults';
import { Violation } from './ledger';
import { type Core, World } from './world';

export const realCore: Core = { initialState, step };

/** Events of the first phase; ticks come on top. */
export const EVENTS = 200;

export interface RunOptions {
  core?: Core;
  roundTrip?: boolean;
  trace?: (line: string) => void;
}

export interface RunResult {
  seed: number;
  /** null: all was well */
  violation: string | null;
  events: number;
  steps: number;
  lives: number;
  tally: Tally;
}

/** Faults, then the calm, then a stop. */
export function runSchedule(seed: number, options: RunOptions = {}): RunResult {
  const world = new World({
    core: options.core ?? realCore,
    seed,
    events: EVENTS,
    roundTrip: options.roundTrip ?? false,
    trace: options.trace ?? null,
  });
  const violation = violationOf(() => {
    world.storm();
    world.calm();
    world.stop();
  });
  const { events, steps, lives, tally } = world;
  return { seed, violation, events, steps, lives, tally };
}

function violationOf(run: () => void): string | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof Violation) return error.message;
    // A core that throws has failed as well.
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** The whole trace of a schedule, for a person to read. */
export function traceOf(seed: number, options: RunOptions = {}): string[] {
  const lines: string[] = [];
  const { violation } = runSchedule(seed, { ...options, trace: (line) => lines.push(line) });
  lines.push(violation === null ? 'all was well' : `VIOLATION: ${violation}`);
  return lines;
}
