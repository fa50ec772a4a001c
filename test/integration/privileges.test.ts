/** Workers of another user than the manager's, and what they can no longer do. As root alone. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fixture, root, Service } from '../helpers/service';

const UID = 54_321;
const GID = 54_322;

/** Whether somebody who is nobody can read what is in there. */
function isPublic(path: string): boolean {
  const reachable = (statSync(path).mode & 0o005) === 0o005;
  return reachable && (path === '/' || isPublic(dirname(path)));
}

const skipped = (() => {
  if (process.getuid!() !== 0) return ' (skipped: needs root)';
  return isPublic(root) ? '' : ' (skipped: this tree is not readable for everybody)';
})();

interface Worker {
  uid: number;
  euid: number;
  gid: number;
  groups: number[];
  uidAtLoad: number;
  noNewPrivs: boolean;
  capabilities: string;
  descriptors: string[];
  [attempt: string]: unknown;
}

describe.skipIf(skipped !== '')(`--user and --group${skipped}`, () => {
  let service: Service | null = null;
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-privileges-'));
    chmodSync(directory, 0o755);
  });
  afterEach(async () => {
    await service?.dispose();
    service = null;
    rmSync(directory, { recursive: true });
  });

  const pidFile = (): string => join(directory, 'app.pid');
  const control = (): string => join(directory, 'app.sock');

  function start(args: readonly string[]): Service {
    const files = ['--pid-file', pidFile(), '--control', control()];
    service = Service.start([...files, ...args, fixture('privileges.js')], {
      engine: 'native',
      env: { PID_FILE: pidFile(), CONTROL: control() },
    });
    return service;
  }

  async function ask<T>(port: number, path = ''): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`);
    return (await response.json()) as T;
  }

  const managerUid = (pid: number): number =>
    Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);

  it.each([
    ['spawned', []],
    ['forked from a forkserver', ['--preload']],
  ])('drops everything in workers that are %s, and nothing in the manager', async (_name, how) => {
    start(['-w', '1', '-b', '127.0.0.1:0', '--user', String(UID), '--group', String(GID), ...how]);
    const { port } = await service!.serving();
    const worker = await ask<Worker>(port);
    expect(worker).toMatchObject({
      uid: UID,
      euid: UID,
      gid: GID,
      groups: [GID],
      uidAtLoad: UID,
      noNewPrivs: false,
      capabilities: '0000000000000000',
      signal: 'EPERM',
      memory: 'EACCES',
      pidFile: 'EACCES',
      unlink: 'EACCES',
      control: 'EACCES',
    });
    // What is open there is its own: no pid file, no control socket's file, no other worker's page.
    expect(worker.descriptors.filter((target) => target.startsWith(directory))).toEqual([]);
    expect(worker.descriptors.filter((target) => target.includes('prefork-row')).length).toBeLessThan(2);
    expect(managerUid(service!.pid)).toBe(0);
    // And it goes on from there: a new generation is dropped to the same user by a manager that still can.
    service!.signal('SIGHUP');
    await service!.event('rollout-committed');
    expect(await ask<Worker>(port)).toMatchObject({ uid: UID, gid: GID, signal: 'EPERM' });
    expect((await service!.stop()).code).toBe(0);
    expect([existsSync(pidFile()), existsSync(control())]).toEqual([false, false]);
  });

  it('takes the groups of an account', async () => {
    start(['-w', '1', '-b', '127.0.0.1:0', '--user', 'nobody']);
    const { port } = await service!.serving();
    const [, , uid, gid] = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((line) => line.startsWith('nobody:'))!
      .split(':');
    expect(await ask<Worker>(port)).toMatchObject({
      uid: Number(uid),
      gid: Number(gid),
      groups: [Number(gid)],
    });
    expect((await service!.stop()).code).toBe(0);
  });

  it('serves on a privileged port that the manager has bound', async () => {
    const port = await freePrivilegedPort();
    start(['-w', '2', '-b', `127.0.0.1:${port}`, '--user', String(UID), '--group', String(GID)]);
    await service!.serving();
    expect(await ask<Worker>(port)).toMatchObject({ uid: UID });
    service!.signal('SIGHUP');
    await service!.event('rollout-committed');
    expect(await ask<Worker>(port)).toMatchObject({ uid: UID });
    expect((await service!.stop()).code).toBe(0);
  });

  it('opens nothing for a worker that the worker may not open', async () => {
    start(['-w', '1', '-b', '127.0.0.1:0', '--user', String(UID), '--group', String(GID)]);
    const { port } = await service!.serving();
    const privileged = await freePrivilegedPort();
    expect(await ask(port, `port/${privileged}`)).toBe('EACCES');
    expect(await service!.event('listen-refused')).toMatchObject({ address: `127.0.0.1:${privileged}` });
    const path = join(directory, 'own.sock');
    expect(await ask(port, `path/${encodeURIComponent(path)}`)).toBe('EACCES');
    expect(existsSync(path)).toBe(false);
    // At the edge: the first port that is everybody's.
    expect(await ask(port, 'port/0')).toBe('ok');
    expect((await service!.stop()).code).toBe(0);
  });

  it('opens for workers of its own user what they ask for', async () => {
    start(['-w', '1', '-b', '127.0.0.1:0']);
    const { port } = await service!.serving();
    expect(await ask(port, `port/${await freePrivilegedPort()}`)).toBe('ok');
    expect(await ask(port, `path/${encodeURIComponent(join(directory, 'own.sock'))}`)).toBe('ok');
    expect((await service!.stop()).code).toBe(0);
  });

  it.each([[[]], [['--preload']]])('lets nothing gain privileges with --no-new-privs, %j', async (how) => {
    start(['-w', '1', '-b', '127.0.0.1:0', '--no-new-privs', ...how]);
    const { port } = await service!.serving();
    expect(await ask<Worker>(port)).toMatchObject({ noNewPrivs: true, uid: 0 });
    const status = readFileSync(`/proc/${service!.pid}/status`, 'latin1');
    expect(status).toMatch(/^NoNewPrivs:\s+0$/m);
    expect((await service!.stop()).code).toBe(0);
  });

  it('refuses without the addon rather than run as root', async () => {
    for (const [flag, ...rest] of [['--user', 'nobody'], ['--no-new-privs']]) {
      const refused = Service.start([flag!, ...rest, fixture('privileges.js')], { engine: 'js' });
      expect((await refused.exited).code).toBe(1);
      expect(refused.errors).toMatch(`${flag} needs the native engine (capability childCredentials)`);
      await refused.dispose();
    }
  });
});

/** Of 127.0.0.1, below 1024. */
async function freePrivilegedPort(): Promise<number> {
  for (let port = 1023; port > 600; port--) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
  throw new Error('no privileged port is free');
}
