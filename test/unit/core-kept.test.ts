import { describe, expect, it } from 'vitest';
import type { Event } from '../../src/core/event';
import { violations } from '../../src/core/invariants';
import { stateWithKept } from '../../src/core/kept';
import { defaultPolicy } from '../../src/core/policy';
import { initialState, type State } from '../../src/core/state';
import { step } from '../../src/core/step';

const policy = { ...defaultPolicy, workers: 2, requiredKeys: ['a'] };
const kept = [
  { workerId: 9, pid: 109, slot: 1, generation: 3, listening: ['a'] },
  { workerId: 7, pid: 107, slot: 0, generation: 4, listening: ['a'] },
];

/** Folds the events, and checks the invariants at each. */
function run(state: State, ...events: Event[]): { state: State; did: string[] } {
  const did: string[] = [];
  let now = state;
  for (const event of events) {
    const next = step(now, event, 1);
    expect(violations(now, event, next.state, next.commands)).toEqual([]);
    for (const command of next.commands) {
      if (command.type === 'spawn') did.push(`spawn ${command.workerId} in ${command.slot}`);
      if (command.type === 'signal') did.push(`${command.signal} to ${command.workerId}`);
      if (command.type === 'exit') did.push(`exit ${command.code}`);
    }
    now = next.state;
  }
  return { state: now, did };
}

const ready = (workerId: number): Event[] => [
  { type: 'spawned', workerId, pid: 200 + workerId },
  { type: 'listening', workerId, key: 'a' },
];

describe('a manager that finds workers', () => {
  it('is as any other where there are none', () => {
    expect(stateWithKept(policy, 1, 5, [])).toEqual(initialState(policy, 1, 5));
  });

  it('counts on from them, and keeps each until its slot has a worker of its own', () => {
    const begin = run(stateWithKept(policy, 1, 5, kept), { type: 'tick' });
    expect(begin.state).toMatchObject({ generation: 5, everReady: true, started: true });
    expect(begin.did).toEqual(['spawn 10 in 0', 'spawn 11 in 1']);
    const replaced = run(begin.state, ...ready(11));
    expect(replaced.did).toEqual(['SIGTERM to 9']);
    expect(run(replaced.state, ...ready(10)).did).toEqual(['SIGTERM to 7']);
  });

  it('goes on with them where its own fail, and stops them when it is told to', () => {
    const begin = run(stateWithKept(policy, 1, 5, kept), { type: 'tick' });
    const failed = run(
      begin.state,
      { type: 'spawned', workerId: 10, pid: 210 },
      { type: 'exited', workerId: 10, status: 256, lastWords: null },
    );
    expect(failed.did).toEqual([]);
    expect(run(failed.state, { type: 'signal', signal: 'SIGTERM' }).did).toContain('SIGTERM to 7');
  });
});
