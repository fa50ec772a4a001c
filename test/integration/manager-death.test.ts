import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { freePort } from '../helpers/ports';
import { fixture, type Service } from '../helpers/service';
import { useServices } from '../helpers/services';
import { StrictClient } from '../helpers/strict-client';

vi.setConfig({ testTimeout: 120_000 });

const SERVER = fixture('server.js');

const place = useServices('native');

/** Not `stop()`: workers that are kept have its standard error open. */
async function kill(service: Service): Promise<void> {
  const exit = once(service.process, 'exit');
  service.signal('SIGKILL');
  expect(await exit).toEqual([null, 'SIGKILL']);
}

/** Resolves when none of its processes is left. */
async function gone(service: Service): Promise<void> {
  await vi.waitFor(() => expect(service.processes()).toEqual([]), { timeout: 20_000, interval: 20 });
}

describe('after the manager is killed', () => {
  it('no worker is left, and the next start needs no hand', async () => {
    const path = join(place.directory, 'app.sock');
    const files = ['--pid-file', join(place.directory, 'pid'), '--control', join(place.directory, 'control')];
    const args = ['-w', '2', '-b', `unix:${path}`, ...files, SERVER];
    const options = { env: { TEST_LISTEN: path } };
    const first = place.start(args, options);
    await first.serving();
    await kill(first);
    await gone(first);
    expect(existsSync(path)).toBe(true);
    const second = place.start(args, options);
    await second.serving();
    const client = new StrictClient({ protocol: 'http', socketPath: path, keepAlive: 1, oneShot: 1 }).start();
    await client.answered(10);
    expect((await client.stop()).failures).toEqual([]);
    expect((await second.stop()).code).toBe(0);
    expect(existsSync(path)).toBe(false);
  });
});

describe('after the manager is killed, with --on-manager-death keep', () => {
  const keep = (extra: readonly string[] = []): string[] => {
    return ['--on-manager-death', 'keep', '--control', join(place.directory, 'control'), ...extra];
  };

  it.each([
    ['one socket for all', []],
    ['one socket a slot', ['--reuse-port']],
    ['a forkserver', ['--preload']],
  ])('workers serve until those of a new manager do (%s)', async (_, extra) => {
    const args = ['-w', '2', '-b', `127.0.0.1:${await freePort()}`, ...keep(extra), SERVER];
    const first = place.start(args);
    const { port, pids } = await first.serving();
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 2, oneShot: 2, thinkMs: 5 }).start();
    await client.answered(20);
    await kill(first);
    await client.answered(20);
    expect(first.processes().sort()).toEqual([...pids].sort());
    const second = place.start(args);
    const found = await second.event('workers-found');
    expect((found.pids as number[]).sort()).toEqual([...pids].sort());
    for (let left = pids.length; left > 0; left--) await second.event('worker-exited');
    await gone(first);
    await client.answered(20);
    expect((await client.stop()).failures).toEqual([]);
    const exits = second.lines.filter(({ event }) => event === 'worker-exited');
    expect(exits.map(({ pid }) => pid).sort()).toEqual([...pids].sort());
    expect(exits.every(({ expected, wasReady }) => expected === true && wasReady === true)).toBe(true);
    expect((await second.stop()).code).toBe(0);
  });

  it('the new manager can be replaced and killed like any other', async () => {
    const args = ['-w', '1', ...keep(), SERVER];
    const first = place.start(args);
    const { port, pids } = await first.serving();
    await kill(first);
    // Its workers never become ready, so that it needs the old ones.
    const second = place.start([...args.slice(0, -1), fixture('never-listens.js')]);
    await second.event('workers-found', (line) => (line.pids as number[])[0] === pids[0]);
    await second.event('serving');
    second.signal('SIGUSR2');
    await second.event('upgraded');
    await kill(second);
    const third = place.start(args);
    const found = await third.event('workers-found');
    expect(found.pids).toContain(pids[0]);
    await gone(first);
    await gone(second);
    const response = await fetch(`http://127.0.0.1:${port}/`);
    expect(await response.text()).toBe('ok\n');
    expect((await third.stop()).code).toBe(0);
  });

  it('a worker that is told to stop meanwhile finishes and ends', async () => {
    const service = place.start(['-w', '2', ...keep(), SERVER]);
    const { port, pids } = await service.serving();
    await kill(service);
    process.kill(pids[0]!, 'SIGTERM');
    await vi.waitFor(() => expect(service.processes()).toEqual([pids[1]]), { timeout: 20_000, interval: 20 });
    expect(await (await fetch(`http://127.0.0.1:${port}/pid`)).text()).toBe(String(pids[1]));
    process.kill(pids[1]!, 'SIGTERM');
    await gone(service);
  });

  it('needs a place where workers find a new manager, and the addon', async () => {
    const without = place.start(['--on-manager-death', 'keep', SERVER]);
    expect((await without.exited).code).toBe(1);
    expect(without.errors).toContain('needs --control or --pid-file');
    const js = place.start([...keep(), SERVER], { engine: 'js' });
    expect((await js.exited).code).toBe(1);
    expect(js.errors).toContain('peerCredentials');
  });
});
