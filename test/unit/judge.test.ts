/** Who hangs, by the clock alone. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judge, type Look, type Pulse } from '../../src/manager/judge';

const INTERVAL_MS = 5000;
const TIMEOUT_MS = 50_000;
const pulse = (more: Partial<Pulse> = {}): Pulse => ({
  workerId: 1,
  heartbeatMs: 100_000,
  readyAtMs: 100_000,
  timeoutMs: TIMEOUT_MS,
  ...more,
});
const look = (atMs: number, graceFromMs = 0): Look => ({ atMs, graceFromMs });
/** Looked at as often as is meant to be. */
const silent = (pulses: Pulse[], nowMs: number, graceFromMs = 0) =>
  judge(pulses, nowMs, look(nowMs - INTERVAL_MS, graceFromMs), INTERVAL_MS).silent.map((s) => s.workerId);

describe('judge()', () => {
  it('accuses who is silent for longer than the timeout', () => {
    expect(silent([pulse()], 150_000)).toEqual([]);
    expect(silent([pulse()], 150_001)).toEqual([1]);
    expect(silent([pulse(), pulse({ workerId: 2, heartbeatMs: 150_000 })], 150_001)).toEqual([1]);
  });

  it('never accuses who has never spoken, nor anybody where there is no timeout', () => {
    expect(silent([pulse({ heartbeatMs: 0 })], 1e9)).toEqual([]);
    expect(silent([pulse({ timeoutMs: 0 })], 1e9)).toEqual([]);
  });

  it('counts the silence of a long start from its end', () => {
    const late = pulse({ heartbeatMs: 40_000, readyAtMs: 100_000 });
    expect(silent([late], 150_000)).toEqual([]);
    expect(silent([late], 150_001)).toEqual([1]);
  });

  it('gives everybody a fresh grace where nobody had looked for too long', () => {
    const gone = judge([pulse()], 200_000, look(200_000 - 2 * INTERVAL_MS - 1001), INTERVAL_MS);
    expect(gone).toMatchObject({
      silent: [],
      stalledMs: 2 * INTERVAL_MS + 1001,
      look: look(200_000, 200_000),
    });
    expect(silent([pulse()], 250_000, 200_000)).toEqual([]);
    expect(silent([pulse()], 250_001, 200_000)).toEqual([1]);
    const late = judge([pulse()], 200_000, look(200_000 - 2 * INTERVAL_MS - 1000), INTERVAL_MS);
    expect(late).toMatchObject({ silent: [{ workerId: 1, silentMs: 100_000 }], stalledMs: null });
  });

  it('accuses nobody at the first look', () => {
    expect(judge([pulse()], 1e9, null, INTERVAL_MS)).toMatchObject({ silent: [], stalledMs: null });
  });

  it('notices within the timeout and an interval, and nobody who beats', () => {
    const times = fc.record({
      intervalMs: fc.integer({ min: 100, max: 10_000 }),
      times: fc.integer({ min: 2, max: 20 }),
      firstLookMs: fc.integer({ min: 0, max: 10_000 }),
      lastBeatMs: fc.integer({ min: 1, max: 300_000 }),
    });
    fc.assert(
      fc.property(times, ({ intervalMs, times, firstLookMs, lastBeatMs }) => {
        const timeoutMs = intervalMs * times;
        let last: Look | null = null;
        for (let now = firstLookMs; ; now += intervalMs) {
          const beats = (until: number): number => Math.min(now, until) - (Math.min(now, until) % intervalMs);
          const pulses = [
            { workerId: 1, heartbeatMs: Math.max(1, Math.min(now, lastBeatMs)), readyAtMs: 0, timeoutMs },
            { workerId: 2, heartbeatMs: Math.max(1, beats(now)), readyAtMs: 0, timeoutMs },
          ];
          const verdict = judge(pulses, now, last, intervalMs);
          last = verdict.look;
          expect(verdict.stalledMs).toBeNull();
          expect(verdict.silent.map((s) => s.workerId)).not.toContain(2);
          if (verdict.silent.length > 0) {
            expect(now - Math.max(lastBeatMs, firstLookMs)).toBeGreaterThan(timeoutMs);
            return;
          }
          expect(now - Math.max(lastBeatMs, firstLookMs)).toBeLessThanOrEqual(timeoutMs + intervalMs);
        }
      }),
    );
  });
});
