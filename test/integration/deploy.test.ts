/** What is in examples/deploy is right: by the tools that read it, by the sums of its timeouts, and by running what runs here. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadBinding } from '../../src/engine/binding';
import { parseDuration } from '../../src/options/duration';
import { lineIn } from '../helpers/log-file';
import { freePorts } from '../helpers/ports';
import { cli, root, Service } from '../helpers/service';
import { StrictClient } from '../helpers/strict-client';

const deploy = join(root, 'examples', 'deploy');
const read = (...path: string[]): string => readFileSync(join(deploy, ...path), 'utf8');
const isNative = loadBinding().binding !== null;
const PATH = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
/** The tool's file, or null: then what needs it is skipped, by a name that says so. */
const tool = (name: string): string | null =>
  PATH.map((directory) => join(directory, name)).find(existsSync) ?? null;

const UNITS = ['app.service', 'app-socket.socket', 'app-socket.service'];
const KEEP_ALIVE_MS = Number(/keepAliveTimeout = ([\d_]+)/.exec(read('server.js'))?.[1]?.replaceAll('_', ''));

function ms(text: string): number {
  const read = parseDuration(text);
  if (!read.ok) throw new Error(`${text} ${read.reason}`);
  return read.value;
}

/** Value of an option on a command line. */
function option(words: readonly string[], name: string): string {
  const index = words.indexOf(name);
  expect(index, `${name} in ${words.join(' ')}`).toBeGreaterThanOrEqual(0);
  return words[index + 1]!;
}

/** Values of a key of a unit file. */
function settings(unit: string, key: string): string[] {
  const lines = read('systemd', unit).split('\n');
  return lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));
}

function get(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data: string) => {
        text += data;
      });
      response.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
}

/** Resolves when a line of standard error has it. */
function said(child: ChildProcess, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = createInterface({ input: child.stderr! });
    reader.on('line', (line) => line.includes(text) && resolve(line));
    child.once('exit', (code) => reject(new Error(`ended with ${code} before it said: ${text}`)));
  });
}

let directory: string;
let service: Service | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-deploy-'));
});
afterEach(async () => {
  await service?.dispose();
  service = undefined;
  rmSync(directory, { recursive: true });
});

/** What follows `prefork run` in a command line of the examples, with the paths and ports of this test. */
function here(words: readonly string[], changes: Readonly<Record<string, string>>): string[] {
  return words.slice(words.indexOf('run') + 1).map((word) => changes[word] ?? word);
}

const manager = (wrapper: number): number =>
  Number(readFileSync(`/proc/${wrapper}/task/${wrapper}/children`, 'utf8').trim().split(' ')[0]);

describe('systemd units', () => {
  const analyze = tool('systemd-analyze');
  const activate = tool('systemd-socket-activate');
  const strace = tool('strace');
  const commandOf = (unit: string): string[] => settings(unit, 'ExecStart')[0]!.split(' ');

  /** With programs, users and directories that are here. */
  function unitsHere(): string[] {
    return UNITS.map((unit) => {
      const text = read('systemd', unit)
        .replaceAll('/usr/local/bin/prefork', cli)
        .replaceAll(/^(User|Group)=app$/gm, '$1=daemon')
        .replaceAll('/srv/app/current', directory);
      writeFileSync(join(directory, unit), text);
      return join(directory, unit);
    });
  }

  it.skipIf(!analyze)('pass systemd-analyze verify (where it is installed)', () => {
    const { status, stdout, stderr } = spawnSync(analyze!, ['verify', '--man=no', ...unitsHere()], {
      encoding: 'utf8',
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it.skipIf(!analyze)('are hardened: exposure at most 3.0 of 10 by systemd-analyze security', () => {
    const args = ['security', '--offline=true', '--threshold=30', unitsHere()[0]!];
    const { status, stdout } = spawnSync(analyze!, args, { encoding: 'utf8' });
    expect(status, stdout).toBe(0);
  });

  it('give prefork the time that it has told workers', () => {
    for (const unit of UNITS.filter((name) => name.endsWith('.service'))) {
      const words = commandOf(unit);
      const gracefulMs = ms(option(words, '--graceful-timeout'));
      const readyMs = words.includes('--ready-timeout') ? ms(option(words, '--ready-timeout')) : 60_000;
      expect(gracefulMs).toBeGreaterThan(KEEP_ALIVE_MS);
      expect(ms(settings(unit, 'TimeoutStopSec')[0]!)).toBeGreaterThanOrEqual(gracefulMs + 10_000);
      expect(ms(settings(unit, 'TimeoutStartSec')[0]!)).toBeGreaterThan(readyMs);
      const [, ...reload] = settings(unit, 'ExecReload')[0]!.split(' ');
      expect(option(reload, '--control')).toBe(option(words, '--control'));
      expect(option(words, '--control')).toBe(`/run/${settings(unit, 'RuntimeDirectory')[0]}/control`);
    }
  });

  it.skipIf(!isNative)('have commands that start, reload and stop', async () => {
    const [port = 0] = await freePorts(1);
    const control = join(directory, 'control');
    const changes = { '127.0.0.1:3000': `127.0.0.1:${port}`, '/run/app/control': control, auto: '2' };
    service = Service.start(here(commandOf('app.service'), changes), { cwd: deploy });
    await service.serving();
    expect(await get(port)).toMatch(/^Hello from worker/);
    const [, ...reload] = settings('app.service', 'ExecReload')[0]!.split(' ');
    const args = reload.map((word) => (word === '/run/app/control' ? control : word));
    expect(spawnSync(process.execPath, [cli, ...args]).status).toBe(0);
    expect(await get(port)).toMatch(/^Hello from worker/);
    expect(await service.stop()).toEqual({ code: 0, signal: null });
  });

  it.skipIf(!isNative || !activate)(
    'serve on sockets of systemd (systemd-socket-activate, where it is installed)',
    async () => {
      const [port = 0] = await freePorts(1);
      const changes = { '/run/app-socket/control': join(directory, 'control'), auto: '2' };
      const wrap = [
        activate!,
        '--listen',
        `127.0.0.1:${port}`,
        `--fdname=${settings('app-socket.socket', 'FileDescriptorName')[0]}`,
      ];
      service = Service.start(here(commandOf('app-socket.service'), changes), { cwd: deploy, wrap });
      // It says that it listens, and starts the program at the first connection, which the program then answers.
      await said(service.process, 'Listening on');
      expect(await get(port)).toMatch(/^Hello from worker/);
      await service.serving();
      expect(await service.stop()).toEqual({ code: 0, signal: null });
    },
  );

  it.skipIf(!isNative || !analyze || !strace)(
    'allow every system call that is made (strace, where it is installed)',
    { timeout: 180_000 },
    async () => {
      const trace = join(directory, 'trace');
      const wrap = [strace!, '-f', '-qq', '-e', 'signal=none', '-o', trace];
      const args = ['-w', '1', '-b', '127.0.0.1:0', '--preload', 'server.js'];
      service = Service.start(args, { engine: 'native', cwd: deploy, wrap });
      await service.serving();
      const pid = manager(service.pid);
      process.kill(pid, 'SIGHUP');
      await service.event('rollout-committed');
      process.kill(pid, 'SIGUSR2');
      await service.event('upgraded');
      process.kill(pid, 'SIGTERM');
      expect(await service.exited).toEqual({ code: 0, signal: null });
      const made = new Set(
        [...readFileSync(trace, 'latin1').matchAll(/^\d+ +([a-z_0-9]+)\(/gm)].map((match) => match[1]!),
      );
      expect(made.size).toBeGreaterThan(40);
      const [allow = '', deny = ''] = settings('app.service', 'SystemCallFilter');
      const allowed = new Set(allow.split(' ').flatMap(systemCalls));
      const denied = new Set(systemCalls(deny.slice(1)));
      expect([...made].filter((name) => !allowed.has(name) || denied.has(name))).toEqual([]);
    },
  );

  /** Those of a set, and of the sets in it. */
  function systemCalls(name: string): string[] {
    if (!name.startsWith('@')) return [name];
    const lines = execFileSync(analyze!, ['syscall-filter', name], { encoding: 'utf8' }).split('\n').slice(1);
    const names = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
    return names.flatMap(systemCalls);
  }
});

describe('the container', () => {
  const dockerfile = read('container', 'Dockerfile');
  const instruction = (name: string): string => new RegExp(`^${name} (.*)$`, 'm').exec(dockerfile)?.[1] ?? '';
  const entrypoint = JSON.parse(instruction('ENTRYPOINT')) as string[];
  const command = JSON.parse(instruction('CMD')) as string[];

  const mayUnshare = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
  it.skipIf(!isNative || !mayUnshare)(
    'starts, is healthy and stops as pid 1 (where a pid namespace may be made)',
    async () => {
      const [port = 0] = await freePorts(1);
      const control = join(directory, 'control');
      const changes = { '0.0.0.0:3000': `127.0.0.1:${port}`, '/tmp/prefork.control': control };
      const wrap = ['unshare', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'];
      service = Service.start(here([...entrypoint, ...command], changes), { cwd: deploy, wrap });
      await service.serving();
      expect(await get(port)).toMatch(/^Hello from worker/);
      const health = JSON.parse(/CMD (\[.*\])$/.exec(instruction('HEALTHCHECK'))![1]!) as string[];
      expect(health[0]).toBe(entrypoint[0]);
      const args = health.slice(1).map((word) => changes[word as keyof typeof changes] ?? word);
      // As docker does: in the container's namespaces.
      const inside = ['--target', String(manager(service.pid)), '--pid', '--mount', process.execPath, cli];
      expect(spawnSync('nsenter', [...inside, ...args]).status).toBe(0);
      expect(instruction('STOPSIGNAL')).toBe('SIGTERM');
      process.kill(manager(service.pid), 'SIGTERM');
      expect(await service.exited).toEqual({ code: 0, signal: null });
    },
  );

  describe('on Kubernetes', () => {
    const documents = parseAllDocuments(read('kubernetes.yaml'), { strict: true, uniqueKeys: true });
    const [deployment, network, budget] = documents.map((document) => {
      expect(document.errors).toEqual([]);
      expect(document.warnings).toEqual([]);
      return document.toJS();
    });
    const pod = deployment.spec.template.spec;
    const [container] = pod.containers;

    it('has documents that belong together', () => {
      expect([deployment.kind, network.kind, budget.kind]).toEqual([
        'Deployment',
        'Service',
        'PodDisruptionBudget',
      ]);
      const { labels } = deployment.spec.template.metadata;
      expect(deployment.spec.selector.matchLabels).toEqual(labels);
      expect(network.spec.selector).toEqual(labels);
      expect(budget.spec.selector.matchLabels).toEqual(labels);
      const ports = container.ports as { name: string; containerPort: number }[];
      const { targetPort } = network.spec.ports[0];
      const names = [targetPort, container.readinessProbe.httpGet.port, container.startupProbe.httpGet.port];
      for (const name of names) expect(ports.map((port) => port.name)).toContain(name);
      expect(ports.map((port) => `0.0.0.0:${port.containerPort}`)).toContain(option(entrypoint, '--bind'));
      // The control socket is where the root file system's being read-only does not matter.
      const mounts = (container.volumeMounts as { mountPath: string }[]).map(({ mountPath }) => mountPath);
      expect(mounts.some((mount) => option(entrypoint, '--control').startsWith(`${mount}/`))).toBe(true);
    });

    it('gives the time that preStop and draining take, one after the other', () => {
      const [program, seconds] = container.lifecycle.preStop.exec.command as [string, string];
      expect(program).toBe('sleep');
      const gracefulMs = ms(option(entrypoint, '--graceful-timeout'));
      expect(gracefulMs).toBeGreaterThan(KEEP_ALIVE_MS);
      expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(
        Number(seconds) * 1000 + gracefulMs + 10_000,
      );
      const { periodSeconds, failureThreshold } = container.startupProbe;
      // --ready-timeout is 60 s.
      expect(periodSeconds * failureThreshold).toBeGreaterThan(60);
      expect(container.livenessProbe).toBeUndefined();
      expect(deployment.spec.strategy.rollingUpdate.maxUnavailable).toBe(0);
    });
  });
});

const nginx = tool('nginx');
describe.skipIf(!nginx)('nginx in front (where it is installed)', () => {
  /** The example within a configuration of its own. */
  function configuration(port: number, upstream: number): string {
    const site = read('nginx.conf')
      .replace('listen 8080;', `listen 127.0.0.1:${port};`)
      .replace('server 127.0.0.1:3000;', `server 127.0.0.1:${upstream};`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${directory}/${name};`,
    );
    const file = join(directory, 'nginx.conf');
    const text = `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log stderr notice;
      events {} http { access_log off; ${temporary.join(' ')} ${site} }`;
    writeFileSync(file, text);
    // Its workers run as another user.
    chmodSync(directory, 0o755);
    return file;
  }

  it('passes nginx -t, and nginx is first to end an idle connection', () => {
    const { status, stderr } = spawnSync(nginx!, ['-t', '-e', 'stderr', '-c', configuration(8080, 3000)], {
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    expect(stderr).not.toMatch(/\[(warn|emerg)\]/);
    const idle = /keepalive_timeout (\S+);/.exec(read('nginx.conf'))![1]!;
    expect(ms(idle)).toBeLessThan(KEEP_ALIVE_MS);
    const graceful = ms(option(settings('app.service', 'ExecStart')[0]!.split(' '), '--graceful-timeout'));
    expect(ms(/proxy_read_timeout (\S+);/.exec(read('nginx.conf'))![1]!)).toBeLessThanOrEqual(graceful);
  });

  it('loses no request in reloads behind it', { timeout: 180_000 }, async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    service = Service.start(['-w', '2', '-b', `127.0.0.1:${upstream}`, 'server.js'], { cwd: deploy });
    await service.serving();
    const proxy = spawn(nginx!, ['-e', 'stderr', '-c', configuration(port, upstream)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    try {
      await said(proxy, 'start worker process ');
      const client = new StrictClient({ protocol: 'http', port, keepAlive: 6, oneShot: 2 }).start();
      for (let round = 0; round < 3; round++) {
        await client.answered(50);
        service.signal('SIGHUP');
        await service.event('rollout-committed');
      }
      await client.answered(50);
      expect((await client.stop()).failures).toEqual([]);
    } finally {
      proxy.kill('SIGTERM');
      await once(proxy, 'exit');
    }
    expect((await service.stop()).code).toBe(0);
  });
});

const logrotate = tool('logrotate');
describe.skipIf(!logrotate)('logrotate (where it is installed)', () => {
  it('renames the log, and prefork goes on in a new one', async () => {
    const log = join(directory, 'app.log');
    const pidFile = join(directory, 'app.pid');
    const file = join(directory, 'logrotate.conf');
    writeFileSync(
      file,
      read('logrotate.conf').replaceAll('/var/log/app/app.log', log).replaceAll('/run/app/app.pid', pidFile),
    );
    chmodSync(file, 0o644);
    const debug = spawnSync(logrotate!, ['-d', '-s', join(directory, 'state'), file], { encoding: 'utf8' });
    expect(debug.status, debug.stderr).toBe(0);
    expect(debug.stderr).not.toMatch(/^error/m);
    service = Service.start(
      ['-w', '1', '-b', '127.0.0.1:0', '--pid-file', pidFile, '--log-file', log, 'server.js'],
      { cwd: deploy },
    );
    await lineIn(log, 'serving');
    const rotated = spawnSync(logrotate!, ['-f', '-s', join(directory, 'state'), file], { encoding: 'utf8' });
    expect(rotated.status, rotated.stderr).toBe(0);
    // A worker more, to have something to tell in the new file.
    service.signal('SIGTTIN');
    await lineIn(log, '"event":"worker-ready"');
    expect(readFileSync(`${log}.1`, 'utf8')).toMatch(/"event":"serving"/);
    expect((await service.stop()).code).toBe(0);
    expect(readFileSync(log, 'utf8')).toMatch(/"event":"worker-exited"/);
  });
});
