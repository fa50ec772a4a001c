/** A thousand children that end at once: each is reaped, once, with its own status. */
import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { nowMs } from '../../src/engine/clock';
import type { Engine, EngineEvent, WorkerHandle } from '../../src/engine/engine';
import { JsEngine } from '../../src/engine/js';
import { NativeEngine } from '../../src/engine/native';

const CHILDREN = 1000;
const LONG_MS = 60_000;

const factories: [string, () => Engine][] = [
  ['native', () => new NativeEngine(loadBinding().binding!)],
  ['js', () => new JsEngine()],
];

describe.each(factories)('a thousand children, %s engine', (_name, open) => {
  let engine: Engine | undefined;
  afterEach(() => engine?.close());

  it('are all reaped when they are killed at once', { timeout: 2 * LONG_MS }, async () => {
    engine = open();
    const workers: WorkerHandle[] = [];
    for (let workerId = 1; workerId <= CHILDREN; workerId++) {
      const result = engine.spawn({
        workerId,
        file: '/bin/sleep',
        args: ['/bin/sleep', '1000'],
        env: {},
        inherit: [],
        channel: false,
        stdio: [-1, -1, -1],
        setsid: false,
        dieWithManager: true,
      });
      if (!('handle' in result)) throw new Error(JSON.stringify(result));
      workers.push(result.handle);
    }
    // Every third by KILL, the others by TERM and HUP: a status that went to the wrong child would show.
    const signals = ['SIGKILL', 'SIGTERM', 'SIGHUP'] as const;
    for (const [index, worker] of workers.entries()) {
      expect(engine.signal(worker, signals[index % 3]!)).toBe('sent');
    }
    const exits: Extract<EngineEvent, { type: 'exited' }>[] = [];
    const deadlineMs = nowMs() + LONG_MS;
    while (exits.length < CHILDREN && nowMs() < deadlineMs) {
      for (const event of await engine.wait(deadlineMs)) if (event.type === 'exited') exits.push(event);
    }
    expect(exits).toHaveLength(CHILDREN);
    expect(new Set(exits.map(({ workerId }) => workerId)).size).toBe(CHILDREN);
    for (const exit of exits) {
      const index = exit.workerId - 1;
      expect(exit).toMatchObject({ pid: workers[index]!.pid, signal: signals[index % 3], exitCode: null });
    }
    // Nothing comes after, and nothing of them is left in the process table.
    engine.wake();
    expect(await engine.wait(Number.POSITIVE_INFINITY)).toEqual([]);
    expect(childrenNamedSleep()).toEqual([]);
  });
});

/** Children of this process that are sleep(1), the dead but unreaped included. */
function childrenNamedSleep(): string[] {
  const lines = execFileSync('ps', ['-o', 'pid=,ppid=,comm=', '-A'], { encoding: 'utf8' }).split('\n');
  return lines.filter(
    (line) => Number(line.trim().split(/\s+/)[1]) === process.pid && line.includes('sleep'),
  );
}
