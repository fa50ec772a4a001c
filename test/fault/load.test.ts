/** What happens to clients while workers die, are told to go, and the service stops. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { engines, fixture, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

/** PREFORK_LONG=1 runs what takes minutes. */
const KILLS = { native: process.env.PREFORK_LONG ? 100 : 25, js: 25 } as const;
const WORKERS = 3;
const TERMS = 20;

describe.each(engines)('under load, %s engine', (engine) => {
  let service: Service | undefined;
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
  });

  async function start(workers: number): Promise<{ service: Service; port: number; pids: Set<number> }> {
    const started = Service.start(['-w', String(workers), '-b', '127.0.0.1:0', fixture('server.js')], {
      engine,
    });
    service = started;
    const { port, pids } = await started.serving();
    return { service: started, port, pids: new Set(pids) };
  }

  it(`loses only what was inside a worker killed with SIGKILL, ${KILLS[engine]} times`, {
    timeout: 180_000,
  }, async () => {
    const { service: run, port, pids } = await start(WORKERS);
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 56, oneShot: 8 }).start();
    const killed = new Set<number>();
    const slower: number[] = [];
    await client.answered(500);
    for (let round = 0; round < KILLS[engine]; round++) {
      const victim = [...pids][Math.floor(Math.random() * pids.size)]!;
      const killedAt = Date.now();
      process.kill(victim, 'SIGKILL');
      killed.add(victim);
      pids.delete(victim);
      const exit = await run.event('worker-exited');
      expect(exit).toMatchObject({ pid: victim, status: 9, expected: false, wasReady: true });
      const ready = await run.event('worker-ready');
      expect(ready.slot).toBe(exit.slot);
      pids.add(ready.pid!);
      slower.push((Date.parse(String(ready.time)) - killedAt) / Number(ready.afterMs));
    }
    await client.answered(500);
    const { failures, requests } = await client.stop();
    expect(requests).toBeGreaterThan(1000);
    // A connection that was with a worker which lives must not have failed; nor may any be refused.
    expect(failures.filter(({ worker }) => worker !== null && !killed.has(worker))).toEqual([]);
    expect(failures.filter(({ kind }) => kind !== 'reset' && kind !== 'closed' && kind !== 'short')).toEqual(
      [],
    );
    // Back at full size within 1.5 × the time that the new worker itself took.
    expect(slower.sort((a, b) => a - b)[Math.floor(slower.length * 0.9)]).toBeLessThan(1.5);
    const exits = run.lines.filter((line) => line.event === 'worker-exited');
    expect(exits.filter((line) => line.status !== 9).map((line) => line.msg)).toEqual([]);
    expect(exits.map((line) => line.pid)).toEqual([...killed]);
    expect(zombiesOf(run.pid)).toEqual([]);
    expect((await run.stop()).code).toBe(0);
  });

  it(`fails no request while ${TERMS} workers are told to go, and then the service`, {
    timeout: 120_000,
  }, async () => {
    const { service: run, port, pids } = await start(WORKERS);
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 56, oneShot: 8 }).start();
    await client.answered(500);
    for (let round = 0; round < TERMS; round++) {
      const victim = [...pids][round % pids.size]!;
      process.kill(victim, 'SIGTERM');
      pids.delete(victim);
      expect(await run.event('worker-exited', (line) => line.pid === victim)).toMatchObject({ status: 0 });
      const ready = run.lines.findLast((line) => line.event === 'worker-ready');
      if (ready && !pids.has(ready.pid!) && ready.pid !== victim) pids.add(ready.pid!);
      else pids.add((await run.event('worker-ready')).pid!);
    }
    await client.answered(500);
    expect(client.failures).toEqual([]);
    run.signal('SIGTERM');
    expect((await run.exited).code).toBe(0);
    const { failures } = await client.stop();
    // Once nobody listens any more, a new connection is refused: that is how a client learns of a stop.
    const lost = failures.filter(
      ({ kind, detail }) => kind !== 'refused' || !detail.includes('ECONNREFUSED'),
    );
    // The js engine cannot keep a connection from joining the queue between the last accept and the close.
    const late = lost.filter(({ kind, detail }) => kind === 'reset' && / 0 bytes/.test(detail));
    expect(
      engine === 'js' && late.length <= WORKERS ? lost.filter((failure) => !late.includes(failure)) : lost,
    ).toEqual([]);
    const statuses = run.lines.filter((line) => line.event === 'worker-exited').map((line) => line.status);
    expect(new Set(statuses)).toEqual(new Set([0]));
  });
});

/** Children of `pid` that are dead and not reaped. */
function zombiesOf(pid: number): number[] {
  const stats = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/stat`, 'latin1');
      } catch {
        return '';
      }
    });
  return stats
    .map((stat) => /^(\d+) \(.*\) (\S) (\d+) /s.exec(stat))
    .filter((match) => match !== null && match[2] === 'Z' && Number(match[3]) === pid)
    .map((match) => Number(match![1]));
}
