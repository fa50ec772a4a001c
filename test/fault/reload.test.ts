/** New code goes live without losing a request, and broken code never goes live. */
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePorts } from '../helpers/ports';
import { engines, fixture, type LogLine, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

/** PREFORK_LONG=1 runs what takes minutes. */
const [RELOADS, DEPLOYMENTS] = process.env.PREFORK_LONG ? [50, 20] : [20, 8];
const certificate = { TEST_KEY: fixture('worker-key.pem'), TEST_CERT: fixture('worker-cert.pem') };

describe.each(engines)('reload under load, %s engine', (engine) => {
  let service: Service | undefined;
  let other: Server | undefined;
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  });
  afterEach(async () => {
    other?.close();
    await service?.dispose();
    service = undefined;
    rmSync(directory, { recursive: true });
  });

  /** Clients of all three protocols, keep-alive and one request a connection. */
  function clients(ports: readonly number[]): StrictClient[] {
    const protocols = ['http', 'https', 'http2'] as const;
    return protocols.map((protocol, index) => {
      const caFile = certificate.TEST_CERT;
      const port = ports[index]!;
      return new StrictClient({ protocol, port, keepAlive: 4, oneShot: 2, caFile }).start();
    });
  }

  const settle = (all: readonly StrictClient[], requests: number): Promise<unknown> =>
    Promise.all(all.map((client) => client.answered(requests)));

  async function failuresOf(all: readonly StrictClient[]): Promise<unknown[]> {
    const reports = await Promise.all(all.map((client) => client.stop()));
    for (const report of reports) expect(report.requests).toBeGreaterThan(100);
    return reports.flatMap((report) => report.failures);
  }

  it(`fails no request in ${RELOADS} reloads`, { timeout: 300_000 }, async () => {
    const ports = await freePorts(3);
    const env = { ...certificate, TEST_PORTS: ports.join(',') };
    service = Service.start(['-w', '2', fixture(join('apps', 'three.js'))], { engine, env });
    await service.serving();
    const load = clients(ports);
    await settle(load, 20);
    for (let round = 1; round <= RELOADS; round++) {
      service.signal('SIGHUP');
      expect(await service.event('rollout-committed')).toMatchObject({ generation: round + 1 });
    }
    await settle(load, 20);
    expect(await failuresOf(load)).toEqual([]);
    expect((await service.stop()).code).toBe(0);
    const unclean = service.lines.filter((line) => line.event === 'worker-exited' && line.status !== 0);
    expect(unclean).toEqual([]);
  });

  it('fails no request with --rollout rolling, and never has fewer ready workers than asked', {
    timeout: 120_000,
  }, async () => {
    const ports = await freePorts(3);
    const env = { ...certificate, TEST_PORTS: ports.join(',') };
    const args = ['-w', '3', '--rollout', 'rolling', fixture(join('apps', 'three.js'))];
    service = Service.start(args, { engine, env });
    await service.serving();
    const load = clients(ports);
    await settle(load, 20);
    for (let round = 1; round <= 4; round++) {
      service.signal('SIGHUP');
      await service.event('rollout-committed');
    }
    expect(fewestReady(service.lines, 3)).toBe(3);
    await settle(load, 20);
    expect(await failuresOf(load)).toEqual([]);
    expect((await service.stop()).code).toBe(0);
  });

  it(`keeps serving with the old workers through ${DEPLOYMENTS} broken deployments`, {
    timeout: 240_000,
  }, async () => {
    const ports = await freePorts(3);
    other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const taken = (other.address() as { port: number }).port;
    const good = join(directory, 'good');
    mkdirSync(good);
    copyFileSync(fixture(join('apps', 'three.js')), join(good, 'server.js'));
    deploy(directory, good);
    const env = { ...certificate, TEST_PORTS: ports.join(',') };
    const args = ['-w', '2', '--ready-timeout', '5s', '--chdir', join(directory, 'current'), 'server.js'];
    service = Service.start(args, { engine, env });
    const { pids } = await service.serving();
    const load = clients(ports);
    await settle(load, 20);
    const broken: [string, RegExp][] = [
      ['const = 1;', /SyntaxError/],
      ["throw new Error('bad deploy');", /bad deploy/],
      ['process.exit(0);', /exited with code 0 before it was ready/],
      ['setInterval(() => {}, 1e6);', /ready timeout of 5000 ms/],
      [`require('node:net').createServer().listen(${taken}, '127.0.0.1');`, /EADDRINUSE|ready timeout/],
    ];
    for (let round = 0; round < DEPLOYMENTS; round++) {
      const [code, reason] = broken[round % broken.length]!;
      const release = join(directory, `broken-${round}`);
      mkdirSync(release);
      writeFileSync(join(release, 'server.js'), code);
      deploy(directory, release);
      service.signal('SIGHUP');
      const failed = await service.event('rollout-failed');
      expect(failed).toMatchObject({ serving: 1, generation: round + 2 });
      expect(failed.msg).toMatch(reason);
    }
    await settle(load, 20);
    expect(await failuresOf(load)).toEqual([]);
    const gone = service.lines.filter((line) => line.event === 'worker-exited' && pids.includes(line.pid!));
    expect(gone).toEqual([]);
    deploy(directory, good);
    service.signal('SIGHUP');
    expect(await service.event('rollout-committed')).toMatchObject({ generation: DEPLOYMENTS + 2 });
    expect((await service.stop()).code).toBe(0);
  });

  it('makes one more reload of all HUPs that come during one', async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    await service.serving();
    service.signal('SIGHUP');
    await service.event('rollout-started');
    service.signal('SIGHUP');
    await service.event('rollout-queued');
    // Further ones change nothing: one is queued already.
    service.signal('SIGHUP');
    service.signal('SIGHUP');
    await service.event('rollout-committed', (line) => line.generation === 3);
    expect((await service.stop()).code).toBe(0);
    expect(service.lines.filter((line) => line.event === 'rollout-committed')).toHaveLength(2);
  });

  it('stops on TERM in the middle of a reload', async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    await service.serving();
    service.signal('SIGHUP');
    await service.event('rollout-started');
    expect((await service.stop()).code).toBe(0);
    expect(service.processes()).toEqual([]);
  });
});

/** Points `current` at a release, in one step. */
function deploy(directory: string, release: string): void {
  const next = join(directory, 'next');
  symlinkSync(release, next);
  renameSync(next, join(directory, 'current'));
}

/** The fewest ready workers at any time after the first `workers` were, by the log. */
function fewestReady(lines: readonly LogLine[], workers: number): number {
  let ready = 0;
  let fewest = Number.POSITIVE_INFINITY;
  let full = false;
  for (const line of lines) {
    if (line.event === 'worker-ready') ready++;
    if (line.event === 'worker-leaving') ready--;
    full ||= ready === workers;
    if (full) fewest = Math.min(fewest, ready);
  }
  return fewest;
}
