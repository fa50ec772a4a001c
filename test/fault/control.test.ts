/** Anything at all on the control socket of a real manager: it goes on serving, and what it uses stays bounded. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { ControlClient } from '../../src/control/client';
import { MAX_REQUEST_BYTES } from '../../src/control/protocol';
import { memoryBytes } from '../../src/worker/memory';
import { engines, fixture, Service } from '../helpers/service';

const MIB = 1024 * 1024;
/** What a manager may grow by under fire: a heap grows before it is collected. */
const MAX_GROWTH_BYTES = 64 * MIB;
const STATUS = '{"v":1,"id":1,"do":"status","memory":true}\n';

/** How one connection goes on: what it writes, and how it leaves. */
interface Attack {
  readonly chunks: readonly (string | Uint8Array)[];
  readonly leaves: 'ends' | 'breaks off' | 'stays';
}
const chunk = fc.oneof(
  fc.uint8Array({ maxLength: 2 * MAX_REQUEST_BYTES }),
  fc.json().map((line) => `${line}\n`),
  fc.nat(STATUS.length).map((at) => STATUS.slice(0, at)),
  fc.integer({ min: 1, max: 500 }).map((times) => STATUS.repeat(times)),
  fc.integer({ min: 1, max: 8 }).map((size) => 'x'.repeat(size * MIB)),
  fc.constant(`${'['.repeat(MAX_REQUEST_BYTES - 2)}\n`),
);
const attack: fc.Arbitrary<Attack> = fc.record({
  chunks: fc.array(chunk, { maxLength: 4 }),
  leaves: fc.constantFrom('ends', 'breaks off', 'stays'),
});

/** Resolves when it has written what it could. It never reads: what it asks for stays in the socket. */
async function carryOut({ chunks, leaves }: Attack, path: string): Promise<() => void> {
  const socket = connect(path).on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  for (const part of chunks) {
    if (!socket.write(part)) await Promise.race([once(socket, 'drain').catch(() => {}), closed]);
  }
  if (leaves === 'ends') socket.end();
  if (leaves === 'breaks off') socket.destroy();
  return () => socket.destroy();
}

describe.each(engines)('the control socket of a manager under fire, %s engine', (engine) => {
  it('hurts neither it nor its workers', { timeout: 120_000 }, async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    const path = join(directory, 'control');
    const args = ['-w', '1', '-b', '127.0.0.1:0', '--control', path, fixture('server.js')];
    const service = Service.start(args, { engine });
    context.onTestFinished(async () => {
      await service.dispose();
      rmSync(directory, { recursive: true });
    });
    const { port, pids } = await service.serving();
    const before = memoryBytes(service.pid, false)!;
    let most = before;
    await fc.assert(
      fc.asyncProperty(fc.array(attack, { minLength: 1, maxLength: 6 }), async (attacks) => {
        const ends = await Promise.all(attacks.map((each) => carryOut(each, path)));
        expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
        most = Math.max(most, memoryBytes(service.pid, false)!);
        for (const end of ends) end();
      }),
      { numRuns: 25, endOnFailure: true },
    );
    expect((most - before) / MIB).toBeLessThan(MAX_GROWTH_BYTES / MIB);
    // Connections are let in again when so many have not come for a while.
    const answer = await vi.waitFor(
      async () => {
        const client = await ControlClient.connect(path);
        try {
          return await client.ask({ do: 'status' });
        } finally {
          client.close();
        }
      },
      { timeout: 30_000, interval: 200 },
    );
    expect(answer.workers.map(({ pid }) => pid)).toEqual(pids);
    expect((await service.stop()).code).toBe(0);
  });
});
