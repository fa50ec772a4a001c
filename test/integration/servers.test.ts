import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePorts } from '../helpers/ports';
import { engines, fixture, Service, type StartOptions } from '../helpers/service';

const WORKERS = 2;

describe.each(engines)('unmodified servers, %s engine', (engine) => {
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

  const certificate = { TEST_KEY: fixture('worker-key.pem'), TEST_CERT: fixture('worker-cert.pem') };

  async function start(app: string, options: StartOptions & { args?: string[] } = {}) {
    const [port] = (await freePorts(1)) as [number];
    const env = {
      TEST_PORT: String(port),
      TEST_PATH: join(directory, 'app.sock'),
      ...certificate,
      ...options.env,
    };
    const args = ['-w', String(WORKERS), ...(options.args ?? []), fixture(join('apps', app))];
    service = Service.start(args, { engine, ...options, env });
    const serving = await service.serving();
    return { service, ...serving, port, path: env.TEST_PATH };
  }

  /** Asks until every worker has answered; all answers have that word before the pid. */
  async function allAnswer(ask: () => Promise<string>, word: string, pids: readonly number[]): Promise<void> {
    const missing = new Set(pids.map(String));
    while (missing.size > 0) {
      const answer = await ask();
      const [, said, pid] = /^(\S+) (\d+)/.exec(answer) ?? [];
      expect(said).toBe(word);
      missing.delete(pid!);
    }
  }

  it.each(['express', 'fastify', 'koa', 'http-options', 'esm'])('serves %s', async (name) => {
    const run = await start(name === 'esm' ? 'esm.mjs' : `${name}.js`);
    await allAnswer(() => http({ port: run.port }), name, run.pids);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('serves https', async () => {
    const run = await start('https.js');
    expect(run.addresses[0]).toMatch(/^https:/);
    await allAnswer(() => https(run.port), 'https', run.pids);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('serves http2', async () => {
    const run = await start('http2.js');
    await allAnswer(() => http2(run.port), 'http2', run.pids);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('serves a bare net server', async () => {
    const run = await start('net.js');
    await allAnswer(() => text(connect(run.port, '127.0.0.1')), 'net', run.pids);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('serves on a path, and removes the socket file at the end', async () => {
    const run = await start('unix.js');
    await allAnswer(() => http({ socketPath: run.path }), 'unix', run.pids);
    expect((await run.service.stop()).code).toBe(0);
    expect(existsSync(run.path)).toBe(false);
  });

  it('gives each listen(0) a port of its own that all workers share, kept over a reload', async () => {
    const run = await start('twice.js');
    const ports = async (): Promise<number[]> => {
      const env = run.service.lines.findLast((line) => line.event === 'serving');
      return (env?.addresses ?? []).map((address) => Number(/:(\d+)$/.exec(address)?.[1]));
    };
    const [first, second] = await ports();
    await allAnswer(() => http({ port: first! }), 'first', run.pids);
    await allAnswer(() => http({ port: second! }), 'second', run.pids);
    run.service.signal('SIGHUP');
    await run.service.event('rollout-committed');
    expect(await http({ port: first! })).toMatch(/^first /);
    expect(await http({ port: second! })).toMatch(/^second /);
    expect((await run.service.stop()).code).toBe(0);
  });

  it('warns a program that forks by itself, and keeps out of its children', async () => {
    const run = await start('cluster.js', { args: ['--ready', 'message'] });
    expect(await http({ port: run.port })).toBe('cluster clean');
    expect(run.service.errors).toContain('PREFORK_CLUSTER');
    expect((await run.service.stop()).code).toBe(0);
  });

  it.skipIf(!(process.features as { typescript?: unknown }).typescript)(
    'serves TypeScript where Node strips types',
    async () => {
      const run = await start('typescript.ts');
      await allAnswer(() => http({ port: run.port }), 'typescript', run.pids);
      expect((await run.service.stop()).code).toBe(0);
    },
  );

  it.runIf(engine === 'native')('answers datagrams', async () => {
    const run = await start('udp.js');
    const socket = createSocket('udp4');
    socket.send('hello', run.port, '127.0.0.1');
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(message.toString()).toMatch(/^udp hello \d+$/);
    socket.close();
    expect((await run.service.stop()).code).toBe(0);
  });
});

function http(to: { port: number } | { socketPath: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    getHttp({ host: '127.0.0.1', agent: false, ...to }, (response) => resolve(text(response))).on(
      'error',
      reject,
    );
  });
}

function https(port: number): Promise<string> {
  const options = { host: '127.0.0.1', port, agent: false, rejectUnauthorized: false };
  return new Promise((resolve, reject) => {
    getHttps(options, (response) => resolve(text(response))).on('error', reject);
  });
}

async function http2(port: number): Promise<string> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const answer = await text(session.request({ ':path': '/' }));
  session.close();
  return answer;
}
