import { describe, expect, it } from 'vitest';
import type { Status, WorkerStatus } from '../../src/control/protocol';
import { columns } from '../../src/top/columns';
import { keysOf } from '../../src/top/keys';
import { type Picture, render, type Size } from '../../src/top/render';
import { initialView, noProgress, pressed, progressed, type View } from '../../src/top/view';

const MIB = 1_048_576;

function worker(slot: number, more: Partial<WorkerStatus> = {}): WorkerStatus {
  return {
    slot,
    workerId: slot + 1,
    pid: 1000 + slot,
    generation: 1,
    state: 'ready',
    ageMs: 125_000,
    readyMs: 124_000,
    leaving: null,
    stopped: false,
    row: {
      activity: 'idle',
      requests: 100 * (slot + 1),
      connections: slot,
      bytesRead: 0,
      bytesWritten: 0,
      utilisation: 0.25,
      lagMs: slot,
      heartbeatMs: 1,
      rssBytes: 50 * MIB,
      heapBytes: 10 * MIB,
    },
    memory: { rssBytes: 60 * MIB, pssBytes: (20 + slot) * MIB, privateBytes: 10 * MIB },
    lastExit: null,
    ...more,
  };
}

function status(workers: readonly WorkerStatus[], more: Partial<Status> = {}): Status {
  return {
    pid: 999,
    version: '0.1.0',
    engine: 'native',
    state: 'running',
    generation: 1,
    nextGeneration: null,
    workersWanted: workers.length,
    workersReady: workers.length,
    upMs: 3_600_000,
    addresses: ['http://127.0.0.1:3000'],
    workers,
    ...more,
  };
}

const SIZE: Size = { columns: 140, rows: 24 };
const picture = (of: Status, more: Partial<Picture> = {}): Picture => ({
  status: of,
  progress: noProgress,
  problem: null,
  ...more,
});
const text = (of: Picture, view: View = initialView, size: Size = SIZE): string[] =>
  render(of, size, view).map((line) => line.text);
/** Of the rows that are seen, the slots. */
const slots = (lines: readonly string[]): number[] =>
  lines.filter((line) => /^ +\d+ +(\d+|-) /.test(line)).map((line) => Number(/\d+/.exec(line)![0]));
const press = (view: View, ...keys: string[]): View =>
  keys.reduce<View>((now, key) => {
    const next = pressed(now, key, 5);
    if (next === 'quit') throw new Error(`${key} quits`);
    return next;
  }, view);

describe('what prefork top draws', () => {
  it('is the service, its totals, and a row a worker', () => {
    const exit = {
      workerId: 9,
      pid: 5,
      status: 256,
      how: 'exited with code 1',
      expected: false,
      agoMs: 5000,
    };
    const rates = new Map([
      [1, 3.25],
      [2, 250],
    ]);
    const lines = text(
      picture(status([worker(0), worker(1, { lastExit: exit })]), { progress: { rates, outcome: null } }),
    );
    expect(lines.slice(0, 7)).toEqual([
      'prefork 0.1.0  running  manager 999  generation 1  2 of 2 ready  native  up 1h',
      'http://127.0.0.1:3000',
      '2 idle  253 req/s  300 requests  loop 25%  lag 1ms  1 connections  PSS 41M',
      '',
      'SLOT^  PID  GEN STATE    AGE  REQUESTS  REQ/S  LAG  LOOP  CONN  RSS  PSS LAST EXIT',
      '    0 1000    1 idle   2m 5s       100    3.3  0ms   25%     0  60M  20M -',
      '    1 1001    1 idle   2m 5s       200    250  1ms   25%     1  60M  21M exited with code 1, 5s ago',
    ]);
  });

  it('says what is not known by a dash, and a worker that is being started', () => {
    const starting = worker(0, { pid: null, state: 'starting', row: null, memory: null, ageMs: 0 });
    expect(text(picture(status([starting])))[5]).toBe(
      '    0    -    1 starting   0s         -      -    -     -     -    -    - -',
    );
  });

  it('shows a rollout as it goes, and how it ended', () => {
    const under = status([worker(0), worker(1), worker(0, { workerId: 3, generation: 2 })], {
      state: 'reloading',
      nextGeneration: 2,
      workersWanted: 2,
    });
    expect(text(picture(under))[3]).toBe(
      'reloading to generation 2  [##########..........]  1 of 2 ready, 1 started',
    );
    const before = status([worker(0)]);
    const good = progressed(under, { ...before, generation: 2 }, 1000, noProgress);
    expect(text(picture(before, { progress: good }))[3]).toBe('generation 2 serves');
    const bad = progressed(under, before, 1000, noProgress);
    expect(bad.outcome).toBe('generation 2 failed; generation 1 serves');
    // It stays until the next one begins.
    expect(progressed(before, before, 1000, bad).outcome).toBe(bad.outcome);
    expect(progressed(before, under, 1000, bad).outcome).toBe('');
  });

  it('counts requests a second for each worker, and never below none', () => {
    const after = status([worker(0, { row: { ...worker(0).row!, requests: 150 } }), worker(1), worker(2)]);
    const { rates } = progressed(
      status([worker(0), worker(1, { row: { ...worker(1).row!, requests: 900 } })]),
      after,
      500,
      noProgress,
    );
    expect([...rates]).toEqual([
      [1, 100],
      [2, 0],
    ]);
  });

  it.each([1, 3, 7, 24, 200])('has at most %d rows, and no line that is wider than the screen', (rows) => {
    const many = status(Array.from({ length: 100 }, (_, slot) => worker(slot)));
    for (const width of [1, 20, 79, 300]) {
      for (const view of [initialView, { ...initialView, help: true }, { ...initialView, scroll: 99 }]) {
        const lines = text(picture(many), view, { rows, columns: width });
        expect(lines.length).toBeLessThanOrEqual(rows);
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
      }
    }
  });

  it('shows what was known last, and why there is nothing newer', () => {
    const lines = render(picture(status([worker(0)]), { problem: 'no answer' }), SIZE, initialView);
    expect(lines[1]).toEqual({ text: 'no answer', style: 'alert' });
    expect(slots(lines.map((line) => line.text))).toEqual([0]);
    expect(text({ status: null, progress: noProgress, problem: 'no answer' })).toEqual(['no answer']);
  });

  it('lets no name move the cursor', () => {
    expect(text(picture(status([], { addresses: ['unix:/\x1b[2Jx'] })))[1]).toBe('unix:/[2Jx');
  });
});

describe('the keys of prefork top', () => {
  const three = picture(status([worker(0), worker(1, { state: 'draining' }), worker(2, { row: null })]));

  it('sort by every column, the other way when pressed again, what is not known last', () => {
    for (const column of columns) expect(press(initialView, column.key).sort).toBe(columns.indexOf(column));
    expect(slots(text(three, press(initialView, 'n')))).toEqual([1, 0, 2]);
    expect(slots(text(three, press(initialView, 'n', 'n')))).toEqual([0, 1, 2]);
    expect(slots(text(three, press(initialView, 'R')))).toEqual([2, 1, 0]);
    expect(press(initialView, 'right', 'right', 'left').sort).toBe(1);
    expect(press(initialView, 'left').sort).toBe(columns.length - 1);
  });

  it('filter the rows, up to 40 characters', () => {
    const typing = press(initialView, '/', 'd', 'r', 'x', 'backspace');
    expect(text(three, typing).at(-1)).toBe('filter: dr_   Enter keeps it, Esc drops it');
    const kept = press(typing, 'enter');
    expect(slots(text(three, kept))).toEqual([1]);
    expect(text(three, kept).at(-1)).toMatch(/^1 workers of 3 with 'dr'/);
    expect(slots(text(three, press(kept, 'escape')))).toEqual([0, 1, 2]);
    // While it is typed, q is a letter.
    expect(press(typing, 'q').filter).toBe('drq');
    expect(press(typing, ...'y'.repeat(60)).filter).toHaveLength(40);
  });

  it('scroll to the end and no further', () => {
    const many = picture(status(Array.from({ length: 30 }, (_, slot) => worker(slot))));
    const size = { columns: 140, rows: 16 };
    expect(slots(text(many, press(initialView, 'down', 'down', 'up'), size))[0]).toBe(1);
    expect(slots(text(many, press(initialView, 'pagedown'), size))[0]).toBe(5);
    expect(slots(text(many, press(initialView, 'end'), size)).at(-1)).toBe(29);
    expect(slots(text(many, press(initialView, 'end', 'home'), size))[0]).toBe(0);
  });

  it('quit, help and hold still', () => {
    expect(pressed(initialView, 'q', 5)).toBe('quit');
    expect(pressed(press(initialView, '/'), 'ctrl-c', 5)).toBe('quit');
    const help = press(initialView, 'h');
    expect(text(three, help).join('\n')).toContain('turn the order');
    expect(press(help, 'q').help).toBe(false);
    expect(press(initialView, ' ').paused).toBe(true);
  });

  it('are read from what terminals send', () => {
    expect(keysOf('q\x1b[A\x1bOB\x1b[5~\r\x7f\x03é')).toEqual([
      'q',
      'up',
      'down',
      'pageup',
      'enter',
      'backspace',
      'ctrl-c',
      'é',
    ]);
    expect(keysOf('\x1b')).toEqual(['escape']);
    // Of what is not known nothing is taken for letters.
    expect(keysOf('\x1b[15~\x1b[1;5C\x00')).toEqual([]);
  });
});
