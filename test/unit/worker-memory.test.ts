/** What a worker reckons from its own memory: when to ask for its replacement, and when to leave. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { memoryBytes } from '../../src/worker/memory';
import { MemoryBound } from '../../src/worker/memoryBound';

const MIB = 1024 * 1024;

/** A worker that began with 50 MiB and may use 150. */
class FakeWorker {
  bytes = 50 * MIB;
  nowMs = 0;
  served = 0;
  looks = 0;
  askedAt: number | null = null;
  leftAt: number | null = null;
  readonly bound: MemoryBound;

  constructor(expected: number, { startMs = 100, limit = 150 * MIB } = {}) {
    this.bound = new MemoryBound({
      limit: { bytes: limit, privateOnly: false },
      expected: () => expected,
      retire: () => {
        this.askedAt = this.bytes;
      },
      leave: () => {
        this.leftAt = this.bytes;
      },
      measure: () => {
        this.looks++;
        return this.bytes;
      },
      now: () => this.nowMs,
    });
    this.nowMs += startMs;
    this.bound.serves();
  }

  /** So many requests of that cost, one every `everyMs`, until it leaves. */
  serve(requests: number, cost: (n: number) => number, everyMs = 10): this {
    for (let n = 0; n < requests && this.leftAt === null; n++) {
      this.nowMs += everyMs;
      this.bytes += cost(this.served);
      this.bound.requestsServed(++this.served);
    }
    return this;
  }
}

describe('--max-memory from within', () => {
  test.each([1, 10, 30])('a leak leaves room for what %i connections may still bring', (connections) => {
    const worker = new FakeWorker(connections).serve(1000, () => MIB);
    expect(worker.leftAt! + connections * MIB).toBeLessThanOrEqual(150 * MIB);
    // And no more room than that.
    expect(worker.leftAt! + (connections + 4) * MIB).toBeGreaterThan(150 * MIB);
    expect(worker.askedAt).toBeLessThan(worker.leftAt! - 10 * MIB);
  });

  test('the busier it is and the slower it starts, the sooner it asks', () => {
    const ask = (startMs: number, everyMs: number) =>
      new FakeWorker(1, { startMs }).serve(1000, () => MIB, everyMs).askedAt! / MIB;
    expect(ask(100, 100)).toBeGreaterThan(140);
    expect(ask(100, 10)).toBeLessThan(ask(100, 100));
    expect(ask(200, 10)).toBeLessThan(ask(100, 10));
    // Half of its room is always used: 50 + 100 / 2.
    expect(ask(10_000, 10)).toBeGreaterThanOrEqual(100);
  });

  test('a program that needs much for its first request only, and then rises and falls, stays', () => {
    const sawtooth = (n: number) => (n === 0 ? 40 * MIB : n % 50 === 0 ? -4.9 * MIB : 0.1 * MIB);
    const worker = new FakeWorker(100).serve(20_000, sawtooth);
    expect(worker).toMatchObject({ askedAt: null, leftAt: null });
  });

  test('is looked at seldom far from the limit, and every time near it', () => {
    const far = new FakeWorker(1).serve(10_000, () => 0);
    expect(far.looks).toBeLessThan(10_000 / 30);
    const near = new FakeWorker(1, { startMs: 1 }).serve(1000, () => 0.1 * MIB);
    expect(near.leftAt! / MIB).toBeGreaterThan(149);
  });

  test('a program that needs more than it may before it serves is left to the manager', () => {
    const worker = new FakeWorker(1, { limit: 40 * MIB }).serve(1000, () => MIB);
    expect(worker).toMatchObject({ askedAt: null, leftAt: null });
  });

  test('asks once, and leaves once', () => {
    const calls: string[] = [];
    let bytes = 0;
    const bound = new MemoryBound({
      limit: { bytes: 100, privateOnly: false },
      expected: () => 0,
      retire: () => calls.push('retire'),
      leave: () => calls.push('leave'),
      measure: () => bytes,
    });
    bound.serves();
    for (let n = 1; n < 300; n++) {
      bytes = n;
      bound.requestsServed(n);
    }
    expect(calls).toEqual(['retire', 'leave']);
  });
});

describe.runIf(process.platform === 'linux')('memoryBytes()', () => {
  test('tells of this process and of another', async () => {
    const code = "const kept = Buffer.alloc(64 << 20, 1); console.log('up'); setInterval(() => kept, 1e9)";
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      await once(child.stdout, 'data');
      for (const privateOnly of [false, true]) {
        expect(memoryBytes(child.pid!, privateOnly)).toBeGreaterThan(64 * MIB);
        expect(memoryBytes('self', privateOnly)).toBeGreaterThan(10 * MIB);
      }
      expect(memoryBytes(child.pid!, true)!).toBeLessThan(memoryBytes(child.pid!, false)!);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });

  test('of a process that is gone is null', () => {
    expect(memoryBytes(4_194_304, false)).toBeNull();
    expect(memoryBytes(4_194_304, true)).toBeNull();
  });
});
