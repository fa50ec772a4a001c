import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engines, fixture, Service } from '../helpers/service';

const APP = fixture('metrics.cjs');

let directory: string;
let service: Service | null = null;
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await service?.dispose();
  service = null;
  rmSync(directory, { recursive: true });
});

async function start(args: readonly string[], engine?: 'native' | 'js') {
  service = Service.start(['--metrics', '127.0.0.1:0', ...args], engine ? { engine } : {});
  const { address } = await service.event('metrics');
  const { port, pids } = await service.serving();
  return { service, url: String(address), port, pids };
}

const scrape = async (url: string): Promise<string> => (await fetch(`${url}/metrics`)).text();
const sample = (text: string, name: string): number | undefined => {
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
};
const sum = (text: string, family: string): number =>
  text
    .split('\n')
    .filter((line) => line.startsWith(`${family}{`))
    .reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
const hit = (port: number): Promise<string> =>
  fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text());

/** Scrapes until it fits: the js engine's rows come once a second. */
async function scrapeWhere(url: string, fits: (text: string) => boolean): Promise<string> {
  for (const untilMs = Date.now() + 45_000; ; ) {
    const text = await scrape(url);
    if (fits(text)) return text;
    if (Date.now() > untilMs) throw new Error(text);
    await new Promise((resolve) => setTimeout(resolve, 120));
  }
}

describe.each(engines)('--metrics, %s engine', (engine) => {
  it('tells what workers serve and how they end, and what their programs count, across restarts', async () => {
    const { service, url, port, pids } = await start(['-w', '2', APP], engine);
    for (let i = 0; i < 10; i++) await hit(port);
    const first = await scrapeWhere(url, (text) => sum(text, 'prefork_requests_total') === 10);
    expect(sample(first, 'app_hits_total{path="/"}')).toBe(10);
    expect(sample(first, 'app_workers')).toBe(2);
    expect(sample(first, 'prefork_workers{state="ready",generation="1"}')).toBe(2);
    expect(sample(first, 'prefork_worker_ready_seconds_count')).toBe(2);
    expect(sum(first, 'prefork_listener_backlog')).toBe(0);
    expect(sum(first, 'prefork_worker_rss_bytes')).toBeGreaterThan(1e7);

    process.kill(pids[0]!, 'SIGKILL');
    await service.event('worker-exited');
    await service.event('worker-ready');
    service.signal('SIGHUP');
    await service.event('rollout-committed');
    // The old ones have told their counters once more before they ended.
    for (let i = 0; i < 2; i++) await service.event('worker-exited');
    for (let i = 0; i < 5; i++) await hit(port);
    const second = await scrapeWhere(url, (text) => sum(text, 'prefork_requests_total') === 15);
    expect(sample(second, 'app_hits_total{path="/"}')).toBe(15);
    expect(sample(second, 'app_workers')).toBe(2);
    expect(sample(second, 'prefork_generation')).toBe(2);
    expect(sample(second, 'prefork_rollouts_total{result="committed"}')).toBe(1);
    expect(sample(second, 'prefork_worker_exits_total{reason="unexpected",signal="SIGKILL",code=""}')).toBe(
      1,
    );
    expect(sample(second, 'prefork_worker_exits_total{reason="rollout",signal="",code="0"}')).toBe(2);
    expect((await service.stop()).code).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
  });

  it('serves at a Unix socket, and removes it', async () => {
    const path = join(directory, 'metrics');
    service = Service.start(['--metrics', `unix:${path}`, '-w', '1', APP], { engine });
    await service.serving();
    expect(statSync(path).mode & 0o777).toBe(0o660);
    const asked = request({ socketPath: path, path: '/readyz', agent: false }).end();
    const [response] = await once(asked, 'response');
    expect([response.statusCode, await textOf(response)]).toEqual([200, 'ok\n']);
    expect((await service.stop()).code).toBe(0);
    expect(() => statSync(path)).toThrow();
  });
});

describe('--metrics', () => {
  it('says whether the service is ready: not while it starts, nor while it stops', async () => {
    const slow = join(fixture('server.js'));
    service = Service.start([
      '--metrics',
      '127.0.0.1:0',
      '-w',
      '1',
      '--graceful-timeout',
      '10s',
      '-b',
      '127.0.0.1:0',
      slow,
    ]);
    const url = String((await service.event('metrics')).address);
    const early = await fetch(`${url}/readyz`);
    expect([200, 503]).toContain(early.status);
    if (early.status === 503) expect(await early.text()).toBe('starting\n');
    const { port } = await service.serving();
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    // A connection that is under way keeps the worker for a while.
    const socket = connect(port, '127.0.0.1');
    sockets.push(socket);
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n');
    await fetch(`http://127.0.0.1:${port}/`);
    service.signal('SIGTERM');
    await service.event('stopping');
    const late = await fetch(`${url}/readyz`).catch(() => null);
    if (late !== null) expect([late.status, await late.text()]).toEqual([503, 'stopping\n']);
    socket.destroy();
    expect((await service.exited).code).toBe(0);
  });

  it('goes on over an upgrade of the manager, at the same address and with the same counts', async () => {
    const { service, url, port } = await start(['-w', '2', APP], 'native');
    for (let i = 0; i < 10; i++) await hit(port);
    await scrapeWhere(url, (text) => sum(text, 'prefork_requests_total') === 10);
    for (let i = 0; i < 2; i++) {
      service.signal('SIGUSR2');
      await service.event('upgraded');
    }
    await hit(port);
    const text = await scrapeWhere(url, (now) => sum(now, 'prefork_requests_total') === 11);
    expect(sample(text, 'app_hits_total{path="/"}')).toBe(11);
    expect(sample(text, 'prefork_worker_ready_seconds_count')).toBe(2);
    expect((await service.stop()).code).toBe(0);
  });

  it('takes GET and HEAD, short headers and 32 connections, and lets nobody slow down the others', async () => {
    const { service, url } = await start(['-w', '1', APP]);
    expect((await fetch(`${url}/metrics`, { method: 'HEAD' })).status).toBe(200);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      expect((await fetch(`${url}/metrics`, { method })).status).toBe(405);
    }
    expect((await fetch(`${url}/x`)).status).toBe(404);
    expect((await fetch(url, { headers: { x: 'y'.repeat(3700) } })).status).not.toBe(431);
    expect((await fetch(url, { headers: { x: 'y'.repeat(4200) } })).status).toBe(431);
    const { port } = new URL(url);
    // Half a request, and nobody who reads: closed when their time is up. Meanwhile others are served.
    const slow = Array.from({ length: 20 }, () => connect(Number(port), '127.0.0.1'));
    sockets.push(...slow);
    for (const socket of slow) {
      await once(socket, 'connect');
      socket.on('error', () => {});
      socket.write('GET /metrics HTTP/1.1\r\n');
    }
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    await Promise.all(slow.map((socket) => (socket.destroyed ? null : once(socket.resume(), 'close'))));
    expect((await service.stop()).code).toBe(0);
  });

  it('has 32 connections at a time, and closes the next', async () => {
    const { service, url } = await start(['-w', '1', APP]);
    const { port } = new URL(url);
    const open = async (): Promise<Socket> => {
      const socket = connect(Number(port), '127.0.0.1');
      sockets.push(socket);
      await once(socket, 'connect');
      socket.on('error', () => {}).write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n');
      return socket;
    };
    const all = await Promise.all(Array.from({ length: 32 }, open));
    await Promise.all(all.map((socket) => once(socket, 'data')));
    const next = await open();
    // By a reset, where its request had come already.
    await new Promise((resolve) => next.resume().once('close', resolve));
    expect(next.bytesRead).toBe(0);
    expect((await service.stop()).code).toBe(0);
  });

  it('that cannot be listened on ends the start with code 4', async () => {
    const { url } = await start(['-w', '1', APP]);
    const second = Service.start(['--metrics', new URL(url).host, '-w', '1', APP]);
    expect((await second.exited).code).toBe(4);
    expect(second.errors).toMatch(/cannot listen on 127\.0\.0\.1:\d+ \(--metrics\): EADDRINUSE/);
    await second.dispose();
  });
});
