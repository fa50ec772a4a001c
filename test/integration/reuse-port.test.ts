/** One socket a slot: whatever happens to the slot's worker, somebody accepts from its socket. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { fixture, Service } from '../helpers/service';
import { StrictClient, type StrictReport } from '../helpers/strict-client';

const { binding } = loadBinding();

describe.skipIf(binding === null)('--reuse-port', () => {
  let service: Service | undefined;
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  });
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
    rmSync(directory, { recursive: true });
  });

  async function start(workers: number, entry = fixture('server.js')) {
    const args = ['-w', String(workers), '-b', '127.0.0.1:0', '--reuse-port', entry];
    service = Service.start(args, { engine: 'native' });
    const serving = await service.serving();
    return { service, ...serving };
  }

  /** One connection a request, each of which the kernel gives to any of the sockets. */
  async function load(port: number, during: (client: StrictClient) => Promise<void>): Promise<StrictReport> {
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 0, oneShot: 8 }).start();
    await client.answered(100);
    await during(client);
    await client.answered(100);
    return client.stop();
  }

  it('spreads connections over all workers', async () => {
    const run = await start(3);
    const seen = new Set<string>();
    while (seen.size < 3) {
      const response = await fetch(`http://127.0.0.1:${run.port}/pid`, { headers: { connection: 'close' } });
      seen.add(await response.text());
    }
    expect(seen).toEqual(new Set(run.pids.map(String)));
    expect((await run.service.stop()).code).toBe(0);
  });

  it('loses nothing when a slot is removed and comes back', async () => {
    const run = await start(3);
    const report = await load(run.port, async (client) => {
      for (let round = 0; round < 3; round++) {
        run.service.signal('SIGTTOU');
        await run.service.event('worker-exited', (line) => line.slot === 2 && line.status === 0);
        await client.answered(100);
        run.service.signal('SIGTTIN');
        await run.service.event('worker-ready', (line) => line.slot === 2);
        await client.answered(100);
      }
    });
    expect(report.failures).toEqual([]);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('accepts for a slot whose worker fails again and again', async () => {
    const entry = join(directory, 'flaky.js');
    const good = readFileSync(fixture('server.js'), 'utf8');
    writeFileSync(entry, good);
    const run = await start(2, entry);
    writeFileSync(entry, "throw new Error('broken now')");
    const client = new StrictClient({ protocol: 'http', port: run.port, keepAlive: 0, oneShot: 8 }).start();
    await client.answered(100);
    process.kill(run.pids[1]!, 'SIGKILL');
    await run.service.event('backoff');
    const before = client.failures.length;
    await client.answered(300);
    await run.service.event('backoff');
    await client.answered(300);
    // Only what was inside the killed worker failed; nothing since.
    expect(client.failures.slice(before)).toEqual([]);
    writeFileSync(entry, good);
    await run.service.event('worker-ready');
    await client.answered(100);
    const { failures } = await client.stop();
    expect(failures.slice(before)).toEqual([]);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('accepts for a slot whose worker is stopped by SIGSTOP', async () => {
    const run = await start(2);
    process.kill(run.pids[0]!, 'SIGSTOP');
    await run.service.event('worker-stopped', (line) => line.pid === run.pids[0]);
    const report = await load(run.port, (client) => client.answered(300));
    expect(report.failures).toEqual([]);
    process.kill(run.pids[0]!, 'SIGCONT');
    await run.service.event('worker-continued');
    const after = await load(run.port, (client) => client.answered(100));
    expect(after.failures).toEqual([]);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('hands the queue of a killed worker to the next one', async () => {
    const run = await start(1);
    process.kill(run.pids[0]!, 'SIGSTOP');
    await run.service.event('worker-stopped');
    // It waits in the queue of a worker that will never accept it.
    const answer = fetch(`http://127.0.0.1:${run.port}/pid`, { headers: { connection: 'close' } });
    process.kill(run.pids[0]!, 'SIGKILL');
    const ready = await run.service.event('worker-ready');
    expect(await (await answer).text()).toBe(String(ready.pid));
    expect((await run.service.stop()).code).toBe(0);
  });
});
