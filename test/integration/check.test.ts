/** `prefork check` finds the requests that a reload loses, of others, and none of prefork's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import type { CheckResult } from '../../src/check/check';
import { Ground, type Ran } from '../helpers/commands';
import { freePorts } from '../helpers/ports';
import { cli, engines, fixture, root, Service } from '../helpers/service';

const pm2 = join(root, 'bench', 'node_modules', 'pm2', 'bin', 'pm2');
const certificate = { TEST_KEY: fixture('worker-key.pem'), TEST_CERT: fixture('worker-cert.pem') };
/** Few connections: the tests share a small machine. */
const LOAD = ['--connections', '8', '--one-shot', '2'];
const hangup = (pid: number): string[] => [process.execPath, '-e', `process.kill(${pid}, 'SIGHUP')`];

let ground: Ground;
beforeEach(() => {
  ground = new Ground('native');
});
afterEach(() => ground.dispose());

function check(...args: string[]): Promise<Ran> {
  return ground.run(['check', ...args]);
}

function resultOf({ stdout }: Ran): CheckResult {
  return JSON.parse(stdout) as CheckResult;
}

describe('servers of others', () => {
  it('finds the drops of a node:cluster service that kills its workers', async () => {
    const [port = 0] = await freePorts(1);
    const service = spawn(process.execPath, [fixture('kill-cluster.js')], {
      env: { ...ground.env, TEST_PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(service.stdout, 'data');
      const url = `http://127.0.0.1:${port}/`;
      const command = ['--', ...hangup(service.pid!)];
      const load = [...LOAD, '--timeout', '3s'];
      const ran = await check('--json', ...load, '--reloads', '5', '--interval', '500ms', url, ...command);
      const result = resultOf(ran);
      expect({ code: ran.code, verdict: result.verdict }).toEqual({ code: 1, verdict: 'failed' });
      expect(result.reloads.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0]);
      expect(result.failed).toBe(result.failures.reduce((sum, { count }) => sum + count, 0));
      for (const { kind, first } of result.failures) {
        expect(['reset', 'closed', 'short', 'refused', 'timeout']).toContain(kind);
        expect(first.reload).toBeGreaterThan(0);
      }
      const text = await check(...load, '--reloads', '2', url, ...command);
      expect(text.code).toBe(1);
      expect(text.stdout.trimEnd().split('\n').at(-1)).toMatch(
        /^prefork: FAILED: [\d,]+ of [\d,]+ requests failed through 2 reloads$/,
      );
    } finally {
      service.kill('SIGTERM');
      await once(service, 'exit');
    }
  });

  it.skipIf(!existsSync(pm2))(
    'finds the drops of pm2 (where bench/ has it installed)',
    { timeout: 180_000 },
    async () => {
      const [port = 0] = await freePorts(1);
      const env = {
        ...ground.env,
        PM2_HOME: ground.path('pm2'),
        PM2_DISCRETE_MODE: 'true',
        PORT: String(port),
      };
      const run = async (...args: string[]): Promise<void> => {
        const child = spawn(process.execPath, [pm2, ...args], { env, stdio: 'ignore' });
        expect((await once(child, 'exit'))[0]).toBe(0);
      };
      await run('start', fixture('server.js'), '-i', '2', '--name', 'checked');
      try {
        const child = spawn(
          process.execPath,
          [
            cli,
            'check',
            '--json',
            '--reloads',
            '5',
            `http://127.0.0.1:${port}/`,
            '--',
            process.execPath,
            pm2,
            'reload',
            'checked',
          ],
          { env, stdio: ['ignore', 'pipe', 'ignore'] },
        );
        let stdout = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          stdout += text;
        });
        const [code] = (await once(child, 'close')) as [number];
        const result = resultOf({ stdout } as Ran);
        expect({ code, verdict: result.verdict }).toEqual({ code: 1, verdict: 'failed' });
        expect(result.failed).toBeGreaterThan(0);
      } finally {
        await run('kill');
        await ground.quiet();
      }
    },
  );
});

describe.each(engines)('prefork itself, %s engine', (engine) => {
  let service: Service | undefined;
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
  });

  it('loses nothing on HUP', async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    const { port } = await service.serving();
    const url = `http://127.0.0.1:${port}/`;
    const ran = await check('--json', ...LOAD, '--reloads', '5', url, '--', ...hangup(service.pid));
    expect(resultOf(ran)).toMatchObject({ verdict: 'passed', failed: 0, failures: [], problem: null });
    expect(ran.code).toBe(0);
    expect(resultOf(ran).requests).toBeGreaterThan(100);
    expect((await service.stop()).code).toBe(0);
  });

  it('loses nothing on prefork reload, over HTTP/2', async () => {
    const [port = 0] = await freePorts(1);
    const control = ground.path('control');
    service = Service.start(['-w', '2', '--control', control, fixture(join('apps', 'http2.js'))], {
      engine,
      env: { ...certificate, TEST_PORT: String(port) },
    });
    await service.serving();
    const options = [
      '--http2',
      '--cacert',
      certificate.TEST_CERT,
      '--reloads',
      '3',
      '--interval',
      '0',
      ...LOAD,
    ];
    const reload = [process.execPath, cli, 'reload', '--control', control];
    const ran = await check(...options, `https://localhost:${port}/`, '--', ...reload);
    expect(ran.stdout).toMatch(/prefork: PASSED: none of [\d,]+ requests failed through 3 reloads\n$/);
    expect(ran.code).toBe(0);
    // What the command prints is not in the way of what is for programs.
    expect(ran.stderr).toContain('generation 4 serves');
    expect((await service.stop()).code).toBe(0);
  });
});

describe('the command', () => {
  let server: Server;
  let url: string;
  let socket: string;
  beforeEach(async () => {
    server = createServer((request, response) => {
      response.statusCode = request.url === '/moved' ? 302 : 200;
      response.end('hello');
    });
    socket = ground.path('socket');
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterEach(async () => {
    if (!server.listening) return;
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  const once1 = ['--reloads', '1', '--interval', '0'];

  it('counts its failure, also where no request fails', async () => {
    const ran = await check(...once1, url, '--', process.execPath, '-e', 'process.exit(3)');
    expect(ran.code).toBe(1);
    expect(ran.stdout).toMatch(/reload 1: the command failed: it ended with exit code 3/);
    expect(ran.stdout).toMatch(/FAILED: 1 of the commands failed through 1 reload\n$/);
  });

  it('is killed at its timeout', async () => {
    const hang = [process.execPath, '-e', 'setInterval(() => {}, 1000)'];
    const ran = await check('--json', ...once1, '--command-timeout', '300ms', url, '--', ...hang);
    expect(ran.code).toBe(1);
    expect(resultOf(ran).reloads).toMatchObject([
      { code: null, signal: 'SIGKILL', problem: expect.stringMatching(/300 ms/) },
    ]);
  });

  it('that is not there gives no verdict', async () => {
    const ran = await check(...once1, url, '--', './no-such-command');
    expect(ran.code).toBe(2);
    expect(ran.stdout).toMatch(
      /NO VERDICT: the command cannot be run: no such file or directory \(ENOENT\)\n$/,
    );
  });

  it('is not run where the server does not answer as expected', async () => {
    const touch = ['--', process.execPath, '-e', `require('node:fs').writeFileSync('ran', '')`];
    const moved = await check(...once1, `${url}moved`, ...touch);
    expect(moved.code).toBe(2);
    expect(moved.stdout).toMatch(/1 × status .*HTTP\/1.1 302 Found/);
    expect(moved.stdout).toMatch(/NO VERDICT: the first request failed, so nothing was reloaded\n$/);
    expect(ground.files()).not.toContain('ran');
    expect((await check(...once1, '--expect-status', '200,3xx', `${url}moved`, ...touch)).code).toBe(0);
    expect(ground.files()).toContain('ran');
    await once(server.close(), 'close');
    const refused = await check(...once1, url, ...touch);
    expect(refused.code).toBe(2);
    expect(refused.stdout).toMatch(/1 × refused .*ECONNREFUSED/);
  });

  it('asks through a Unix socket', async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
    server.listen(socket);
    await once(server, 'listening');
    const ran = await check(
      ...once1,
      '--unix-socket',
      socket,
      'http://app.test/',
      '--',
      process.execPath,
      '-e',
      '',
    );
    expect(ran.stdout).toMatch(/PASSED/);
    expect(ran.code).toBe(0);
  });

  it('tells what it saw when it is interrupted', async () => {
    const child: ChildProcess = ground.spawn([
      'check',
      '--json',
      url,
      '--',
      process.execPath,
      '-e',
      'process.kill(process.ppid, "SIGINT")',
    ]);
    let stdout = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ verdict: 'none', problem: 'it was interrupted' });
  });

  test.each([
    [['--reloads', '0'], /--reloads: '0' is not a number from 1 to 10000/],
    [['--reloads', '10001'], /--reloads/],
    [['--connections', '1025'], /--connections: '1025' is not a number from 0 to 1024/],
    [['--connections', '0', '--one-shot', '0'], /there would be no load/],
    [['--interval', '61m'], /--interval: '61m' is not from 0ms to 1h/],
    [['--timeout', '0'], /--timeout/],
    [['--timeout', 'soon'], /--timeout: 'soon' is not a duration/],
    [['--expect-status', '600'], /--expect-status/],
    [['--cacert', '/no/such/file'], /--cacert: \/no\/such\/file: no such file or directory/],
    [['--frobnicate'], /unknown option '--frobnicate'/],
  ])('%j is bad usage', async (options, message) => {
    const ran = await check(...options, url, '--', 'true');
    expect({ code: ran.code, stdout: ran.stdout }).toEqual({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(message);
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  test.each([
    [['127.0.0.1:3000', '--', 'true']],
    [['ftp://127.0.0.1/', '--', 'true']],
    [['http://127.0.0.1/']],
    [[]],
  ])('check %j is bad usage', async (args) => {
    const ran = await check(...args);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(/^prefork: .*\[ERR_PREFORK_CHECK_USAGE\]\n$/);
  });

  it('makes 1024 connections where it is told to', async () => {
    const ran = await check(
      '--json',
      ...once1,
      '--connections',
      '1024',
      '--one-shot',
      '0',
      url,
      '--',
      'true',
    );
    expect(resultOf(ran).verdict).toBe('passed');
    expect(resultOf(ran).connections).toBe(1024);
  });
});
