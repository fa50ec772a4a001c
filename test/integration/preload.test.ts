/** `prefork run --preload` from outside: who forks whom, and what happens when something dies. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { fixture } from '../helpers/service';
import { useServices } from '../helpers/services';
import { StrictClient } from '../helpers/strict-client';

const support = loadBinding().binding?.forkSupport().ok === true;

describe.skipIf(!support)('prefork run --preload', () => {
  const place = useServices('native', ['--preload']);

  async function get(port: number, path: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
    expect(response.status).toBe(200);
    return response.text();
  }

  it('forks its workers from one loaded program, as children of the manager', async () => {
    const service = place.start(['-w', '3', '-b', '127.0.0.1:0', fixture('server.js'), '--flag']);
    const { pid: forkserver } = await service.event('forkserver-preloaded');
    const { port, pids } = await service.serving();
    expect(new Set(pids).size).toBe(3);
    for (const pid of pids) expect(parentOf(pid)).toBe(service.pid);
    expect(parentOf(forkserver!)).toBe(service.pid);
    const pid = Number(await get(port, '/pid'));
    expect(pids).toContain(pid);
    const env = JSON.parse(await get(port, '/env')) as Record<string, string>;
    expect(env).toMatchObject({ PREFORK_GENERATION: '1', PORT: String(port), LISTEN_FDS: '1' });
    expect(pids.map(String)).toContain(env.LISTEN_PID);
    expect(Object.keys(env).filter((name) => /^PREFORK_(WORKER|CHANNEL|FORKSERVER)$/.test(name))).toEqual([]);
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    expect(service.processes()).toEqual([]);
  });

  it('replaces a killed worker by a fork of the same forkserver, with its true status', async () => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { pids } = await service.serving();
    for (let round = 0; round < 5; round++) {
      process.kill(pids[0]!, 'SIGKILL');
      expect(await service.event('worker-exited')).toMatchObject({ pid: pids[0], status: 9 });
      pids[0] = (await service.event('worker-ready')).pid!;
    }
    expect(service.lines.filter((line) => line.event === 'forkserver-preloaded')).toHaveLength(1);
    expect((await service.stop()).code).toBe(0);
  });

  it('starts a new forkserver from fresh code on HUP, and loses no request', async () => {
    const entry = join(place.directory, 'server.js');
    const code = readFileSync(fixture('server.js'), 'utf8');
    writeFileSync(entry, code);
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', entry]);
    const { pid: first } = await service.event('forkserver-preloaded');
    const { port } = await service.serving();
    const client = new StrictClient({ protocol: 'http', port, keepAlive: 8, oneShot: 2 }).start();
    await client.answered(50);
    writeFileSync(entry, code.replace("'ok\\n'", "'fresh\\n'"));
    for (let round = 0; round < 3; round++) {
      service.signal('SIGHUP');
      await service.event('rollout-committed');
    }
    await client.answered(50);
    expect((await client.stop()).failures).toEqual([]);
    expect(await get(port, '/')).toBe('fresh\n');
    expect(() => process.kill(first!, 0)).toThrow('ESRCH');
    expect((await service.stop()).code).toBe(0);
  });

  it('goes on when the forkserver is killed, and starts another for the next worker', async () => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { pid: forkserver } = await service.event('forkserver-preloaded');
    const { port, pids } = await service.serving();
    process.kill(forkserver!, 'SIGKILL');
    expect(await service.event('forkserver-ended')).toMatchObject({ pid: forkserver, status: 9 });
    expect(pids).toContain(Number(await get(port, '/pid')));
    process.kill(pids[0]!, 'SIGKILL');
    expect(await service.event('forkserver-preloaded')).not.toMatchObject({ pid: forkserver });
    await service.event('worker-ready');
    expect((await service.stop()).code).toBe(0);
  });

  it('goes on over an upgrade of the manager', async () => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { pids, port } = await service.serving();
    service.signal('SIGUSR2');
    await service.event('upgraded');
    expect(pids).toContain(Number(await get(port, '/pid')));
    process.kill(pids[0]!, 'SIGKILL');
    const ready = await service.event('worker-ready');
    expect(parentOf(ready.pid!)).toBe(service.pid);
    expect((await service.stop()).code).toBe(0);
  });

  it('keeps the old generation when the new program cannot be loaded', async () => {
    const entry = join(place.directory, 'server.js');
    writeFileSync(entry, readFileSync(fixture('server.js')));
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', entry]);
    const { port, pids } = await service.serving();
    writeFileSync(entry, "throw new Error('bad deploy');");
    service.signal('SIGHUP');
    expect((await service.event('rollout-failed')).msg).toContain('generation 1 goes on serving');
    expect(pids).toContain(Number(await get(port, '/pid')));
    expect((await service.stop()).code).toBe(0);
  });

  it.each(['throws.js', 'exits.js', 'ends.js'])(
    'ends with code 3 when the program cannot be loaded: %s',
    async (name) => {
      const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture(name)]);
      expect(await service.exited).toEqual({ code: 3, signal: null });
      expect(service.lines.some((line) => line.event === 'start-failed')).toBe(true);
      expect(service.processes()).toEqual([]);
    },
  );

  it('refuses a program that is not safe to fork, and names the place', async () => {
    const peer = createServer().listen(0, '127.0.0.1');
    await once(peer, 'listening');
    const { port } = peer.address() as { port: number };
    const env = { TEST_PEER: String(port) };
    const service = place.start(['-w', '2', fixture(join('apps', 'unsafe.js'))], { env });
    expect((await service.exited).code).toBe(3);
    const failed = service.lines.find((line) => line.event === 'start-failed');
    expect(failed?.msg).toMatch(/unsafe\.js:3/);
    peer.close();
  });
});

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(/^\d+ \(.*\) \S (\d+) /s.exec(stat)?.[1]);
}
