import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { engines, fixture } from '../helpers/service';
import { useServices } from '../helpers/services';

describe.each(engines)('prefork run, %s engine', (engine) => {
  const place = useServices(engine);

  async function get(port: number, path: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
    expect(response.status).toBe(200);
    return response.text();
  }

  it('serves an unmodified server with all its workers, and stops on TERM with nothing left', async () => {
    const service = place.start(['--workers', '3', '--bind', '127.0.0.1:0', fixture('server.js')]);
    const { port, pids, addresses } = await service.serving();
    expect(addresses).toEqual([`http://127.0.0.1:${port}`]);
    expect(new Set(pids).size).toBe(3);
    expect(pids).toContain(Number(await get(port, '/pid')));
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    expect(service.processes()).toEqual([]);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
  });

  it('tells a worker who it is and what it inherited, and hides its own variables', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', fixture('server.js'), '--flag', 'word']);
    const { port } = await service.serving();
    const env = JSON.parse(await get(port, '/env')) as Record<string, string>;
    expect(env).toMatchObject({
      PREFORK_SLOT: '0',
      PREFORK_WORKER_ID: '1',
      PREFORK_GENERATION: '1',
      SERVER_STARTER_GENERATION: '1',
      SERVER_STARTER_PORT: `127.0.0.1:${port}=3`,
      LISTEN_FDS: '1',
      PORT: String(port),
    });
    expect(env.PREFORK_WORKER).toBeUndefined();
    expect(env.PREFORK_CHANNEL).toBeUndefined();
    if (engine === 'native') expect(env.LISTEN_PID).toBe(await get(port, '/pid'));
    const { argv, execArgv } = JSON.parse(await get(port, '/argv')) as { argv: string[]; execArgv: string[] };
    expect(argv).toEqual(['--flag', 'word']);
    expect(execArgv).toEqual([]);
    expect((await service.stop()).code).toBe(0);
  });

  it('opens what the program listens on by itself, and keeps it over a respawn', async () => {
    const service = place.start(['-w', '2', fixture('server.js')]);
    const { port, pids } = await service.serving();
    expect(port).toBeGreaterThan(0);
    process.kill(pids[0]!, 'SIGKILL');
    const exit = await service.event('worker-exited');
    expect(exit).toMatchObject({ pid: pids[0], status: 9, wasReady: true, expected: false });
    await service.event('worker-ready', (line) => line.slot === exit.slot);
    expect(Number(await get(port, '/pid'))).not.toBe(pids[0]);
    expect((await service.stop()).code).toBe(0);
  });

  it('scales by TTIN and TTOU, down to one', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { port, pids } = await service.serving();
    service.signal('SIGTTIN');
    await service.event('worker-ready', (line) => line.slot === 1);
    service.signal('SIGTTOU');
    await service.event(
      'worker-exited',
      (line) => line.slot === 1 && line.status === 0 && line.expected === true,
    );
    // Below one it does not go: the next TTIN makes two again.
    service.signal('SIGTTOU');
    expect(await get(port, '/pid')).toBe(String(pids[0]));
    service.signal('SIGTTIN');
    expect(await service.event('scaled')).toMatchObject({ workers: 2 });
    await service.event('worker-ready', (line) => line.slot === 1);
    expect((await service.stop()).code).toBe(0);
  });

  it('replaces its workers on HUP', async () => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { port, pids } = await service.serving();
    service.signal('SIGHUP');
    expect(await service.event('rollout-committed')).toMatchObject({ generation: 2 });
    for (const pid of pids)
      await service.event('worker-exited', (line) => pids.includes(line.pid ?? pid) && line.status === 0);
    const env = JSON.parse(await get(port, '/env')) as Record<string, string>;
    expect(env.PREFORK_GENERATION).toBe('2');
    expect((await service.stop()).code).toBe(0);
  });

  it('answers what is in flight before it stops', async () => {
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', fixture('server.js')]);
    const { port } = await service.serving();
    const response = await fetch(`http://127.0.0.1:${port}/slow`);
    service.signal('SIGTERM');
    expect(await response.text()).toBe('begun done\n');
    expect((await service.exited).code).toBe(0);
  });

  it('stops gracefully on INT, and at once on a second one', async () => {
    const service = place.start([
      '-w',
      '1',
      '-b',
      '127.0.0.1:0',
      '--graceful-timeout',
      '1h',
      fixture('hangs-on-term.js'),
    ]);
    await service.serving();
    service.signal('SIGINT');
    await service.event('worker-leaving');
    service.signal('SIGINT');
    // Within a second INT counts once: npm and a terminal both send one. TERM does not.
    service.signal('SIGTERM');
    expect((await service.exited).code).toBe(143);
  });

  it('kills a worker that does not leave within the graceful timeout', async () => {
    const service = place.start([
      '-w',
      '1',
      '-b',
      '127.0.0.1:0',
      '--graceful-timeout',
      '200ms',
      fixture('hangs-on-term.js'),
    ]);
    await service.serving();
    service.signal('SIGTERM');
    await service.event('worker-killed');
    expect(await service.event('worker-exited')).toMatchObject({ status: 9 });
    expect((await service.exited).code).toBe(0);
  });

  it.each([
    ['throws.js', 'boom at import'],
    ['exits.js', 'exited with code 5'],
    ['ends.js', 'exited with code 0'],
  ])('ends with code 3 when the first worker cannot start: %s', async (name, reason) => {
    const service = place.start(['-w', '2', '-b', '127.0.0.1:0', fixture(name)]);
    expect(await service.exited).toEqual({ code: 3, signal: null });
    expect(service.lines.find((line) => line.event === 'start-failed')?.msg).toContain(reason);
    expect(service.processes()).toEqual([]);
  });

  it('ends with code 3 when nobody listens on a --bind in time', async () => {
    const service = place.start([
      '-w',
      '1',
      '-b',
      '127.0.0.1:0',
      '--ready-timeout',
      '300ms',
      fixture('never-listens.js'),
    ]);
    expect((await service.exited).code).toBe(3);
    expect(service.errors).toContain('127.0.0.1:0');
  });

  it('ends with code 4 and one line when the port is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const named = place.start(['-w', '1', '-b', `127.0.0.1:${port}`, fixture('server.js')]);
    expect((await named.exited).code).toBe(4);
    expect(named.errors).toContain(`cannot listen on 127.0.0.1:${port}: EADDRINUSE`);
    expect(named.errors).toMatch(/\[ERR_PREFORK_LISTEN\]\n$/);
    const asked = place.start(['-w', '1', fixture('server.js')], { env: { TEST_LISTEN: String(port) } });
    expect((await asked.exited).code).toBe(4);
    expect(asked.errors).toContain(`cannot listen on 127.0.0.1:${port}`);
    other.close();
  });

  it('backs off when a worker fails after the service once served', async () => {
    const script = join(place.directory, 'flaky.js');
    writeFileSync(script, readFileSync(fixture('server.js')));
    const service = place.start(['-w', '1', '-b', '127.0.0.1:0', script]);
    const { pids } = await service.serving();
    writeFileSync(script, "throw new Error('broken now')");
    process.kill(pids[0]!, 'SIGKILL');
    const first = await service.event('backoff');
    const second = await service.event('backoff');
    expect(second.failures).toBe(2);
    expect(Number(second.delayMs)).toBeGreaterThan(Number(first.delayMs));
    writeFileSync(script, readFileSync(fixture('server.js')));
    await service.event('worker-ready');
    expect((await service.stop()).code).toBe(0);
  });

  it('writes and removes its pid and status files, and refuses to run twice', async () => {
    const pidFile = join(place.directory, 'service.pid');
    const statusFile = join(place.directory, 'service.status');
    writeFileSync(pidFile, '2147483646\n');
    const args = ['-w', '2', '-b', '127.0.0.1:0', '--pid-file', pidFile, fixture('server.js')];
    const service = place.start(['--status-file', statusFile, ...args]);
    const { pids } = await service.serving();
    expect(readFileSync(pidFile, 'utf8')).toBe(`${service.pid}\n`);
    expect(readFileSync(statusFile, 'utf8')).toBe(
      pids
        .map((pid) => `1:${pid}\n`)
        .sort()
        .join(''),
    );
    const second = place.start(args);
    expect((await second.exited).code).toBe(1);
    expect(second.errors).toContain(`already running with pid ${service.pid}`);
    expect(readFileSync(pidFile, 'utf8')).toBe(`${service.pid}\n`);
    expect((await service.stop()).code).toBe(0);
    expect(() => readFileSync(pidFile)).toThrow('ENOENT');
    expect(() => readFileSync(statusFile)).toThrow('ENOENT');
  });

  it('leaves no worker behind when it is killed', async () => {
    const service = place.start(['-w', '3', '-b', '127.0.0.1:0', fixture('server.js')]);
    await service.serving();
    // The workers hold the write end of standard error: its end is their end.
    expect(await service.stop('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    expect(service.processes()).toEqual([]);
  });

  it('runs a worker without any socket that says itself when it is ready', async () => {
    const service = place.start(['-w', '2', '--ready', 'message', fixture('queue-consumer.js')]);
    const { pids } = await service.serving();
    expect(pids).toHaveLength(2);
    expect((await service.stop()).code).toBe(0);
    expect(service.output.match(/consumer finished/g)).toHaveLength(2);
  });

  it('replaces a worker after --max-requests without a failed request', async () => {
    const service = place.start([
      '-w',
      '1',
      '-b',
      '127.0.0.1:0',
      '--max-requests',
      '5',
      fixture('server.js'),
    ]);
    const { port, pids } = await service.serving();
    const seen = new Set<string>();
    while (seen.size < 3) seen.add(await get(port, '/pid'));
    expect(seen.has(String(pids[0]))).toBe(true);
    expect((await service.stop()).code).toBe(0);
  });
});
