/** `--control-token`: who may control a service at the address of its metrics, and what they are told. */
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MAX_SCALE } from '../../src/control/protocol';
import { engines, fixture, Service, type StartOptions } from '../helpers/service';

vi.setConfig({ testTimeout: 60_000 });

const TOKEN = 'correct-horse-battery-staple';

let directory: string;
let entry: string;
let tokenFile: string;
let service: Service | null = null;
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  entry = join(directory, 'app.js');
  tokenFile = join(directory, 'token');
  copyFileSync(fixture('server.js'), entry);
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await service?.dispose();
  service = null;
  rmSync(directory, { recursive: true });
});

async function start(options: StartOptions, ...args: string[]): Promise<{ service: Service; url: string }> {
  const metrics = ['--metrics', '127.0.0.1:0', '--control-token', tokenFile];
  service = Service.start([...metrics, '-w', '1', '-b', '127.0.0.1:0', ...args, entry], options);
  const url = String((await service.event('metrics')).address);
  await service.serving();
  return { service, url };
}

interface Told {
  status: number;
  ok?: boolean;
  result?: unknown;
  error?: { code: string; message: string };
}

async function post(url: string, headers: Record<string, string> = bearer(TOKEN)): Promise<Told> {
  const response = await fetch(url, { method: 'POST', headers });
  expect(response.headers.get('content-type')).toBe('application/json');
  return { status: response.status, ...((await response.json()) as object) };
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

describe.each(engines)('--control-token, %s engine', (engine) => {
  it('lets whoever has it reload, scale and stop', async () => {
    const { service, url } = await start({ engine });
    expect(await post(`${url}/reload`)).toEqual({ status: 200, ok: true, result: { generation: 2 } });
    writeFileSync(entry, `throw new Error('not today');`);
    const failed = await post(`${url}/reload`);
    expect(failed).toMatchObject({ status: 409, ok: false, error: { code: 'ROLLOUT' } });
    expect(failed.error!.message).toMatch(/exited with code 1 before it was ready.*not today/s);
    copyFileSync(fixture('server.js'), entry);
    expect(await post(`${url}/scale?workers=2`)).toEqual({ status: 200, ok: true, result: { workers: 2 } });
    await service.event('worker-ready');
    expect(await post(`${url}/stop`)).toEqual({ status: 200, ok: true, result: { workers: 2 } });
    expect(await service.exited).toEqual({ code: 0, signal: null });
    expect(service.errors).not.toContain(TOKEN);
  });

  it('hears nobody else, and after five wrong ones nobody at all', async () => {
    const { service, url } = await start({ engine });
    const { host } = new URL(url);
    const foreign = { ...bearer(TOKEN), origin: 'http://evil.example' };
    expect(await post(`${url}/stop`, foreign)).toMatchObject({ status: 403, error: { code: 'ORIGIN' } });
    const own = { ...bearer(TOKEN), origin: `http://${host}` };
    expect(await post(`${url}/scale?workers=1`, own)).toMatchObject({ status: 200 });
    // Without one, or with it in the address, is no attempt.
    for (let i = 0; i < 6; i++) {
      expect(await post(`${url}/stop?token=${TOKEN}`, {})).toMatchObject({
        status: 401,
        error: { code: 'TOKEN' },
      });
    }
    for (const wrong of ['', 'x', `${TOKEN}x`, TOKEN.slice(1)]) {
      expect(await post(`${url}/stop`, bearer(wrong))).toMatchObject({ status: 401 });
    }
    expect(await post(`${url}/stop`, { authorization: `Basic ${TOKEN}` })).toMatchObject({ status: 401 });
    const late = await fetch(`${url}/stop`, { method: 'POST', headers: bearer(TOKEN) });
    expect(late.status).toBe(429);
    expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await late.json()).toMatchObject({ ok: false, error: { code: 'ATTEMPTS' } });
    // What is to be read is read by everybody.
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect((await service.stop()).code).toBe(0);
    expect(service.lines.filter((line) => line.event === 'control-refused')).toHaveLength(5);
  });

  it('answers a reload that takes longer than a request may, also where others have gone', async () => {
    const gate = join(directory, 'gate');
    const { service, url } = await start({ engine });
    // Ready when the test lets it.
    writeFileSync(
      entry,
      `const { existsSync, watch } = require('node:fs');
       const watcher = watch(${JSON.stringify(directory)}, () => go());
       function go() {
         if (!existsSync(${JSON.stringify(gate)})) return;
         watcher.close();
         require(${JSON.stringify(fixture('server.js'))});
       }
       go();`,
    );
    const open = (): Socket => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      sockets.push(socket);
      return socket;
    };
    const gone = open();
    gone.write(`POST /reload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${TOKEN}\r\n\r\n`);
    await service.event('rollout-started');
    gone.destroy();
    const asked = post(`${url}/reload`);
    await service.event('control-http');
    // A later connection that says nothing is closed when its time is up: by then the other one's would be, too.
    await once(open().resume(), 'close');
    writeFileSync(gate, '');
    expect(await asked).toEqual({ status: 200, ok: true, result: { generation: 3 } });
    expect((await service.stop()).code).toBe(0);
  });
});

describe('--control-token', () => {
  it('takes POST without a body, and nothing but what it knows', async () => {
    const { service, url } = await start({});
    for (const method of ['GET', 'PUT', 'OPTIONS']) {
      const answer = await fetch(`${url}/stop`, { method, headers: bearer(TOKEN) });
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST']);
      expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    }
    const body = await fetch(`${url}/stop`, { method: 'POST', headers: bearer(TOKEN), body: 'x' });
    expect(body.status).toBe(413);
    for (const workers of [
      '',
      '?workers=0',
      `?workers=${MAX_SCALE + 1}`,
      '?workers=1e2',
      '?workers=-1',
      '?n=2',
    ]) {
      expect(await post(`${url}/scale${workers}`)).toMatchObject({
        status: 400,
        error: { code: 'PROTOCOL' },
      });
    }
    expect((await fetch(`${url}/metrics`, { method: 'POST', headers: bearer(TOKEN) })).status).toBe(405);
    expect((await fetch(`${url}/restart`, { headers: bearer(TOKEN) })).status).toBe(404);
    expect((await service.stop()).code).toBe(0);
  });

  it('is good over an upgrade of the manager, also where its file has gone', async () => {
    const { service, url } = await start({ engine: 'native' });
    rmSync(tokenFile);
    service.signal('SIGUSR2');
    await service.event('upgraded');
    expect(await post(`${url}/scale?workers=2`)).toMatchObject({ status: 200, result: { workers: 2 } });
    expect(await post(`${url}/scale?workers=2`, bearer('x'.repeat(20)))).toMatchObject({ status: 401 });
    expect((await service.stop()).code).toBe(0);
  });

  it('works at a Unix socket, and from the configuration file', async () => {
    const path = join(directory, 'metrics');
    writeFileSync(
      join(directory, 'prefork.config.json'),
      JSON.stringify({ metrics: `unix:${path}`, controlToken: 'token', workers: 1, bind: '127.0.0.1:0' }),
    );
    service = Service.start([entry], { cwd: directory, env: { PWD: directory } });
    await service.serving();
    const asked = request({ socketPath: path, path: '/stop', method: 'POST', headers: bearer(TOKEN) }).end();
    const [response] = await once(asked, 'response');
    expect([response.statusCode, JSON.parse(await textOf(response))]).toEqual([
      200,
      { ok: true, result: { workers: 1 } },
    ]);
    expect((await service.exited).code).toBe(0);
  });

  it('is refused while the service stops', async () => {
    const { service, url } = await start({}, '--graceful-timeout', '20s');
    const { port } = new URL(service.lines.find((line) => line.event === 'serving')!.addresses![0]!);
    const busy = connect(Number(port), '127.0.0.1');
    sockets.push(busy);
    busy.write('GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n');
    await once(busy, 'data');
    expect(await post(`${url}/stop`)).toMatchObject({ status: 200 });
    const late = await post(`${url}/reload`).catch(() => null);
    if (late !== null) expect(late).toMatchObject({ status: 503, error: { code: 'STOPPING' } });
    busy.destroy();
    expect((await service.exited).code).toBe(0);
  });

  it('is not there where it is not asked for', async () => {
    service = Service.start(['--metrics', '127.0.0.1:0', '-w', '1', '-b', '127.0.0.1:0', entry]);
    const url = String((await service.event('metrics')).address);
    await service.serving();
    expect((await fetch(`${url}/stop`, { method: 'POST', headers: bearer(TOKEN) })).status).toBe(405);
    expect((await fetch(`${url}/stop`)).status).toBe(404);
    expect(await (await fetch(url)).text()).not.toMatch(/Controls|token|\/reload/);
    expect((await service.stop()).code).toBe(0);
  });

  it('starts nothing where others may use the file', async () => {
    chmodSync(tokenFile, 0o640);
    const refused = Service.start(['--metrics', '127.0.0.1:0', '--control-token', tokenFile, entry]);
    expect((await refused.exited).code).toBe(1);
    expect(refused.errors.trim().split('\n')).toHaveLength(1);
    expect(refused.errors).toMatch(/--control-token: \S+: holds a secret, .* \(mode 0640\); chmod 600 it/);
    expect(refused.errors).not.toContain(readFileSync(tokenFile, 'utf8').trim());
    await refused.dispose();
  });
});
