import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadBinding, type NativeSockName } from '../../src/engine/binding';
import { nowMs } from '../../src/engine/clock';
import { freePorts } from '../helpers/ports';
import { engines, fixture, Service } from '../helpers/service';

vi.setConfig({ testTimeout: 60_000 });

type Message = Record<string, string> & { pid: number };

/** What systemd does with NOTIFY_SOCKET. */
class Receiver {
  readonly messages: Message[] = [];
  readonly #process: ChildProcess;
  #waiting: (() => void)[] = [];

  private constructor(child: ChildProcess) {
    this.#process = child;
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.messages.push(JSON.parse(line) as Message);
      for (const look of this.#waiting) look();
    });
  }

  static async open(name: string): Promise<Receiver> {
    const child = spawn('python3', [fixture('notify-receiver.py'), name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const receiver = new Receiver(child);
    await receiver.next((message) => 'ready' in message);
    return receiver;
  }

  /** The first message, from `from` on, that fits. */
  next(fits: (message: Message) => boolean, from = 0): Promise<Message> {
    return new Promise((resolve) => {
      const look = (): void => {
        const found = this.messages.slice(from).find(fits);
        if (found === undefined) return;
        this.#waiting = this.#waiting.filter((other) => other !== look);
        resolve(found);
      };
      this.#waiting.push(look);
      look();
    });
  }

  async close(): Promise<void> {
    this.#process.kill();
    await once(this.#process, 'exit');
  }
}

describe('sd_notify', () => {
  let directory: string;
  let receiver: Receiver;
  let service: Service;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  });
  afterEach(async () => {
    await service.dispose();
    await receiver.close();
    rmSync(directory, { recursive: true });
  });

  function start(env: Record<string, string>): void {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], {
      engine: 'native',
      env,
    });
  }

  it.each([
    ['a path', () => join(directory, 'notify')],
    ['an abstract name', () => `@prefork-test-${process.pid}`],
  ])('tells of readiness, reloads and the stop, over %s', async (_kind, name) => {
    receiver = await Receiver.open(name());
    start({ NOTIFY_SOCKET: name() });
    const ready = await receiver.next((message) => message.READY === '1');
    expect(ready).toMatchObject({ pid: service.pid, MAINPID: String(service.pid) });
    expect(service.lines.some(({ event }) => event === 'worker-ready')).toBe(true);
    const { port } = await service.serving();

    const from = receiver.messages.length;
    const beforeMs = nowMs();
    service.signal('SIGHUP');
    const reloading = await receiver.next((message) => message.RELOADING === '1', from);
    const usec = Number(reloading.MONOTONIC_USEC);
    expect(usec / 1000).toBeGreaterThanOrEqual(beforeMs);
    expect(usec / 1000).toBeLessThan(nowMs());
    const at = receiver.messages.indexOf(reloading);
    await receiver.next((message) => message.READY === '1', at);
    await receiver.next((message) => message.STATUS === 'Generation 2, 2 of 2 workers ready', at);

    const env = (await (await fetch(`http://127.0.0.1:${port}/env`)).json()) as object;
    expect(env).not.toHaveProperty('NOTIFY_SOCKET');

    await service.stop();
    await receiver.next((message) => message.STOPPING === '1');
    // Nothing of the workers', and nothing but assignments that systemd knows.
    expect(new Set(receiver.messages.slice(1).map(({ pid }) => pid))).toEqual(new Set([service.pid]));
  });

  it('is not ready when the start fails', async () => {
    const name = join(directory, 'notify');
    receiver = await Receiver.open(name);
    service = Service.start(['-w', '1', fixture('exits.js')], {
      engine: 'native',
      env: { NOTIFY_SOCKET: name },
    });
    await receiver.next((message) => message.STOPPING === '1');
    await service.exited;
    expect(receiver.messages.filter((message) => message.READY)).toEqual([]);
  });

  it('gives life signs for the watchdog', async () => {
    const name = join(directory, 'notify');
    receiver = await Receiver.open(name);
    start({ NOTIFY_SOCKET: name, WATCHDOG_USEC: '200000' });
    const isSign = (message: Message): boolean => message.WATCHDOG === '1';
    const first = await receiver.next(isSign);
    await receiver.next(isSign, receiver.messages.indexOf(first) + 1);
    const { port } = await service.serving();
    const env = (await (await fetch(`http://127.0.0.1:${port}/env`)).json()) as object;
    expect(env).not.toHaveProperty('WATCHDOG_USEC');
  });

  it('gives no life signs for a watchdog of another process', async () => {
    const name = join(directory, 'notify');
    receiver = await Receiver.open(name);
    start({ NOTIFY_SOCKET: name, WATCHDOG_USEC: '1000', WATCHDOG_PID: String(process.pid) });
    await service.serving();
    await service.stop();
    await receiver.next((message) => message.STOPPING === '1');
    expect(receiver.messages.filter((message) => message.WATCHDOG)).toEqual([]);
  });

  it('serves on, and says so once, where nobody receives', async () => {
    const name = join(directory, 'notify');
    receiver = await Receiver.open(name);
    start({ NOTIFY_SOCKET: join(directory, 'nobody') });
    await service.serving();
    await service.stop();
    const failures = service.lines.filter(({ event }) => event === 'notify-failed');
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatchObject({ level: 'warn', code: 'ENOENT' });
  });
});

describe.each(engines)('--bind systemd, %s engine', (engine) => {
  let service: Service;
  let passed: number | null = null;

  afterEach(async () => {
    await service.dispose();
    if (passed !== null) closeSync(passed);
    passed = null;
  });

  async function get(port: number, path: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
    expect(response.status).toBe(200);
    return response.text();
  }

  /** Listens, as a parent does, and passes the socket at descriptor 3. */
  function startBelow(pid: string, env: Record<string, string>): number {
    const { binding } = loadBinding();
    const spec = {
      kind: 'tcp',
      address: '127.0.0.1',
      port: 0,
      backlog: 16,
      reusePort: false,
      ipv6Only: false,
    } as const;
    const fd = binding!.listen(spec);
    const name = binding!.sockname(fd) as NativeSockName;
    passed = fd;
    service = Service.start(['-w', '2', '-b', 'systemd', fixture('server.js')], {
      engine,
      env: { LISTEN_FDS: '1', ...env },
      wrap: ['sh', '-c', `export LISTEN_PID=${pid}; exec "$@"`, 'sh'],
      inherit: [fd],
    });
    return name.port;
  }

  it('serves on the sockets of its parent, through a reload, under their names', async () => {
    const port = startBelow('$$', { LISTEN_FDNAMES: 'web' });
    const { addresses } = await service.serving();
    expect(addresses).toEqual([`http://127.0.0.1:${port}`]);
    const env = JSON.parse(await get(port, '/env')) as Record<string, string>;
    expect(env).toMatchObject({ LISTEN_FDS: '1', LISTEN_FDNAMES: 'web', PORT: String(port) });
    service.signal('SIGHUP');
    await service.event('rollout-committed');
    expect(await get(port, '/')).toBe('ok\n');
    expect(await service.stop()).toEqual({ code: 0, signal: null });
  });

  it('takes no sockets that were passed to another process', async () => {
    startBelow('1', {});
    expect((await service.exited).code).toBe(4);
    expect(service.errors).toContain('the sockets were passed to process 1, not to this one');
  });

  it('says so where none were passed', async () => {
    service = Service.start(['-b', 'systemd', fixture('server.js')], { engine });
    expect((await service.exited).code).toBe(4);
    expect(service.errors).toContain('LISTEN_FDS is not set');
  });

  it('says so where a descriptor is no socket', async () => {
    service = Service.start(['-b', 'systemd', fixture('server.js')], {
      engine,
      env: { LISTEN_FDS: '1' },
      wrap: ['sh', '-c', 'export LISTEN_PID=$$; exec "$@" 3</dev/null', 'sh'],
    });
    expect((await service.exited).code).toBe(4);
    expect(service.errors).toContain('cannot listen on fd:3');
  });

  const activate = '/usr/bin/systemd-socket-activate';
  it.skipIf(!existsSync(activate))(
    'is started by systemd at the first connection, which it answers',
    async () => {
      const [port = 0] = await freePorts(1);
      service = Service.start(['-w', '1', '-b', 'systemd', fixture('server.js')], {
        engine,
        wrap: [activate, '--listen', `127.0.0.1:${port}`, '--fdname=web', '--setenv=PREFORK_TEST_MARKER'],
      });
      while (!service.errors.includes('Listening on')) await once(service.process.stderr!, 'data');
      const first = get(port, '/env');
      await service.serving();
      expect(JSON.parse(await first)).toMatchObject({ LISTEN_FDNAMES: 'web' });
      expect(await service.stop()).toEqual({ code: 0, signal: null });
    },
  );
});
