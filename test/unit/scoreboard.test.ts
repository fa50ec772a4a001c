/** One page, two sides: what is written is read, what is torn or scribbled is not, and it costs next to nothing. */
import { closeSync, ftruncateSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { Board } from '../../src/scoreboard/board';
import { MESSAGE_LENGTH, NUMBER, PAGE_BYTES, RANGES, STATES, WORD } from '../../src/scoreboard/layout';
import { RowReader } from '../../src/scoreboard/reader';
import type { RowState, ScoreboardRow } from '../../src/scoreboard/row';
import { RowWriter, type Sample } from '../../src/scoreboard/writer';

const OWNER = { workerId: 7, slot: 2, generation: 3 };
const states = STATES.filter((state): state is RowState => state !== null);

const sample = fc.record({
  heartbeatMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  startedAtMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  pid: fc.integer({ min: 0, max: RANGES.pid.max }),
  utilisation: fc.double({ min: 0, max: 1, noNaN: true }),
  lagMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  rssBytes: fc.maxSafeNat(),
  heapBytes: fc.maxSafeNat(),
}) satisfies fc.Arbitrary<Sample>;

function pair(): { page: ArrayBuffer; writer: RowWriter; reader: RowReader } {
  const page = new ArrayBuffer(PAGE_BYTES);
  return { page, writer: new RowWriter(page), reader: new RowReader(OWNER, page) };
}

describe('a row', () => {
  it('is none before it is begun', () => {
    expect(new RowReader(OWNER, new ArrayBuffer(PAGE_BYTES)).read()).toBeNull();
    expect(pair().reader.read()).toBeNull();
  });

  it('is read as it was written, by memory and by message', () => {
    fc.assert(
      fc.property(
        sample,
        fc.constantFrom(...states),
        fc.array(fc.maxSafeNat(), { minLength: 4, maxLength: 4 }),
        (beat, state, [requests, connections, bytesRead, bytesWritten]) => {
          const { writer, reader } = pair();
          writer.beat(beat);
          writer.state = state;
          writer.requests = requests!;
          writer.connections = connections!;
          writer.addBytes(bytesRead!, bytesWritten!);
          const expected = { ...OWNER, ...beat, state, requests, connections, bytesRead, bytesWritten };
          expect(reader.read()).toEqual(expected);
          const board = new Board(null);
          expect(board.open(OWNER)).toBe('channel');
          board.receive(OWNER.workerId, JSON.parse(JSON.stringify(writer.toMessage())));
          expect(board.read(OWNER.workerId)).toEqual(expected);
        },
      ),
    );
  });

  it('is none while a heartbeat is half written, and whole after it', () => {
    const { page, writer, reader } = pair();
    writer.state = 'idle';
    writer.beat(aBeat(1));
    const words = new Uint32Array(page);
    words[WORD.sequence]! += 1;
    new Float64Array(page)[NUMBER.heartbeatMs] = 2;
    expect(reader.read()).toBeNull();
    words[WORD.sequence]! += 1;
    expect(reader.read()?.heartbeatMs).toBe(2);
  });

  it('is read past the end of the counter', () => {
    const { page, writer, reader } = pair();
    writer.state = 'idle';
    new Uint32Array(page)[WORD.sequence] = 0xff_ff_ff_fe;
    writer.beat(aBeat(5));
    expect(new Uint32Array(page)[WORD.sequence]).toBe(0);
    expect(reader.read()?.heartbeatMs).toBe(5);
  });

  it('has valid values or is none, whatever is scribbled on its page', () => {
    const word = fc.tuple(fc.nat(31), fc.oneof(fc.nat(8), fc.integer({ min: 0, max: 0xff_ff_ff_ff })));
    const number = fc.tuple(
      fc.nat(31),
      fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 53, 2 ** 60, 0.5)),
    );
    const scribbles = fc.array(
      fc.oneof(fc.record({ word }), fc.record({ number })) as fc.Arbitrary<{
        word?: [number, number];
        number?: [number, number];
      }>,
      { maxLength: 8 },
    );
    let valid = 0;
    fc.assert(
      fc.property(sample, scribbles, (beat, marks) => {
        const { page, writer, reader } = pair();
        writer.state = 'busy';
        writer.beat(beat);
        for (const mark of marks) {
          if (mark.word) new Uint32Array(page)[mark.word[0]] = mark.word[1];
          if (mark.number) new Float64Array(page)[mark.number[0]] = mark.number[1];
        }
        const row = reader.read();
        if (row === null) return;
        valid++;
        expectValid(row);
      }),
      { numRuns: 2000 },
    );
    expect(valid).toBeGreaterThan(100);
  });

  it('passes over messages that are no row', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.array(fc.double(), { minLength: MESSAGE_LENGTH, maxLength: MESSAGE_LENGTH }),
          fc.array(fc.anything(), { minLength: MESSAGE_LENGTH, maxLength: MESSAGE_LENGTH }),
        ),
        (values) => {
          const board = new Board(null);
          board.open(OWNER);
          board.receive(OWNER.workerId, values);
          const row = board.read(OWNER.workerId);
          if (row !== null) expectValid(row);
        },
      ),
    );
  });
});

function aBeat(heartbeatMs: number): Sample {
  return { heartbeatMs, startedAtMs: 1, pid: 4711, utilisation: 0.5, lagMs: 0, rssBytes: 1, heapBytes: 1 };
}

function expectValid(row: ScoreboardRow): void {
  expect(row).toMatchObject(OWNER);
  expect(states).toContain(row.state);
  for (const [name, { max, whole }] of Object.entries(RANGES)) {
    const value = row[name as keyof typeof RANGES];
    expect(value).toBeGreaterThanOrEqual(0);
    expect(value).toBeLessThanOrEqual(max);
    if (whole) expect(Number.isInteger(value)).toBe(true);
  }
}

const { binding } = loadBinding();

describe.skipIf(binding === null)('a row in shared memory', () => {
  let board: Board | undefined;
  afterEach(() => board?.closeAll());

  /** The worker's side, over a mapping of its own. */
  function writerOf(fd: number): RowWriter {
    const page = binding!.mmap(fd, 0, PAGE_BYTES, true);
    if (typeof page === 'number') throw new Error(`errno ${-page}`);
    return new RowWriter(page);
  }

  it('is seen by the manager at once, each by itself', () => {
    board = new Board(binding);
    const seats = [1, 2].map((workerId) => board!.open({ workerId, slot: workerId - 1, generation: 1 }));
    const writers = seats.map((seat) => writerOf((seat as { fd: number }).fd));
    for (const [index, writer] of writers.entries()) {
      writer.state = 'idle';
      writer.requests = 10 + index;
    }
    expect(board.read(1)).toMatchObject({ workerId: 1, slot: 0, requests: 10 });
    expect(board.read(2)).toMatchObject({ workerId: 2, slot: 1, requests: 11 });
    expect(board.read(3)).toBeNull();
    board.close(1);
    expect(board.read(1)).toBeNull();
    expect(board.read(2)).not.toBeNull();
  });

  it('cannot be cut off under its readers, and its worker can send no other', () => {
    board = new Board(binding);
    const { fd } = board.open(OWNER) as { fd: number };
    expect(() => ftruncateSync(fd, 0)).toThrow(/EPERM/);
    expect(() => ftruncateSync(fd, 2 * PAGE_BYTES)).toThrow(/EPERM/);
    expect(binding!.addSeals(fd, ['write'])).toBeLessThan(0);
    board.receive(OWNER.workerId, new RowWriter().toMessage());
    expect(board.read(OWNER.workerId)).toBeNull();
  });

  it('goes on over a handover', () => {
    const former = new Board(binding);
    const { fd } = former.open(OWNER) as { fd: number };
    const writer = writerOf(fd);
    writer.state = 'idle';
    const rows = JSON.parse(JSON.stringify(former.handOver()));
    expect(rows).toEqual([{ ...OWNER, fd }]);
    board = new Board(binding);
    board.takeOver(rows);
    writer.requests = 42;
    expect(board.read(OWNER.workerId)).toMatchObject({ requests: 42 });
    // The descriptor is the successor's now.
    board.closeAll();
    expect(() => closeSync(fd)).toThrow(/EBADF/);
  });
});
