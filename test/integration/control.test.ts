import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ControlClient } from '../../src/control/client';
import type { Status } from '../../src/control/protocol';
import { engines, fixture, Service } from '../helpers/service';

vi.setConfig({ testTimeout: 60_000 });

describe.each(engines)('the control socket, %s engine', (engine) => {
  let directory: string;
  let path: string;
  let entry: string;
  let service: Service;
  const sockets: Socket[] = [];
  const clients: ControlClient[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    path = join(directory, 'control');
    entry = join(directory, 'app.js');
    copyFileSync(fixture('server.js'), entry);
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const client of clients.splice(0)) client.close();
    await service.dispose();
    rmSync(directory, { recursive: true });
  });

  async function start(...args: string[]): Promise<void> {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', '--control', path, ...args, entry], { engine });
    await service.serving();
  }

  async function client(): Promise<ControlClient> {
    const opened = await ControlClient.connect(path);
    clients.push(opened);
    return opened;
  }

  async function open(): Promise<Socket> {
    const socket = connect(path).on('error', () => {});
    sockets.push(socket);
    await once(socket, 'connect');
    return socket;
  }

  /** Everything until the manager closes the connection. */
  async function untilClosed(socket: Socket): Promise<string> {
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    if (!socket.closed) await once(socket, 'close');
    return text;
  }

  async function status(): Promise<Status> {
    const asker = await client();
    const answer = await asker.ask({ do: 'status' });
    asker.close();
    return answer;
  }

  const pidsOf = ({ workers }: Status, generation: number): (number | null)[] =>
    workers.filter((w) => w.generation === generation).map((w) => w.pid);

  it('is for its user alone, and goes with the manager', async () => {
    await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await status()).toMatchObject({ pid: service.pid, engine, state: 'running', workersReady: 2 });
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    expect(() => statSync(path)).toThrow('ENOENT');
  });

  it('answers programs that know only lines, and end their side first', async () => {
    await start();
    const socket = await open();
    socket.end('{"v":1,"id":7,"do":"status"}\n');
    const answer = JSON.parse(await untilClosed(socket)) as { id: number; ok: boolean; result: Status };
    expect(answer).toMatchObject({ v: 1, id: 7, ok: true, result: { pid: service.pid } });
  });

  it('keeps the answer to a reload for a client that has ended its side', async () => {
    await start();
    const socket = await open();
    socket.end('{"v":1,"id":1,"do":"reload"}\n');
    const lines = (await untilClosed(socket))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines.at(-1)).toEqual({ v: 1, id: 1, ok: true, result: { generation: 2 } });
    expect(lines[0]).toMatchObject({ progress: 'generation 2 begins (surge)' });
  });

  it('answers a reload when it has ended, with the reason where it failed', async () => {
    await start();
    const before = await status();
    writeFileSync(entry, `throw new Error('not today');`);
    const asker = await client();
    const failed = asker.ask({ do: 'reload' }, { timeoutMs: null });
    await expect(failed).rejects.toMatchObject({
      code: 'ROLLOUT',
      message: expect.stringMatching(/exited with code 1 before it was ready.*not today/s) as string,
    });
    const after = await status();
    expect(after.generation).toBe(1);
    expect(pidsOf(after, 1)).toEqual(pidsOf(before, 1));
    copyFileSync(fixture('server.js'), entry);
    expect(await asker.ask({ do: 'reload' }, { timeoutMs: null })).toEqual({ generation: 3 });
  });

  it('answers a reload that is asked for during another for the one that follows', async () => {
    await start();
    const asker = await client();
    const answers: number[] = [];
    const note = ({ generation }: { generation: number }): number => answers.push(generation);
    // The second is asked for when the configuration of the first has been read, the third when it waits.
    const first = new Promise<void>((resolve, reject) => {
      const progress = (): void => resolve();
      asker.ask({ do: 'reload' }, { timeoutMs: null, progress }).then(note, reject);
    });
    await first;
    const waits = new Promise<void>((resolve) => {
      void asker.ask({ do: 'reload' }, { timeoutMs: null, progress: () => resolve() }).then(note);
    });
    await waits;
    note(await asker.ask({ do: 'reload' }, { timeoutMs: null }));
    expect(answers.sort()).toEqual([2, 3, 3]);
    expect(await status()).toMatchObject({ generation: 3, nextGeneration: null });
  });

  it('tells those who wait for a reload when the service stops instead', async () => {
    await start();
    writeFileSync(entry, `setInterval(() => {}, 1e9);`);
    const asker = await client();
    const begun = new Promise<void>((resolve) => {
      asker.ask({ do: 'reload' }, { timeoutMs: null, progress: () => resolve() }).catch(() => {});
    });
    await begun;
    const queued = asker.ask({ do: 'reload' }, { timeoutMs: null });
    const refused = expect(queued).rejects.toMatchObject({ code: 'STOPPING' });
    await asker.ask({ do: 'stop', graceful: true });
    await refused;
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  it('scales, reopens the log, and stops at once where that is asked for', async () => {
    await start();
    const asker = await client();
    expect(await asker.ask({ do: 'scale', workers: 4 })).toEqual({ workers: 4 });
    expect(await asker.ask({ do: 'reopenLogs' })).toEqual({});
    expect(await asker.ask({ do: 'stop', graceful: false })).toMatchObject({
      workers: expect.any(Number) as number,
    });
    await asker.closed;
    expect((await service.exited).code).toBe(0);
    expect(service.lines.filter(({ event }) => event === 'worker-killed').length).toBeGreaterThan(0);
  });

  const nonsense: [string, string | Buffer][] = [
    ['no JSON', 'hello\n'],
    ['an empty line', '\n'],
    ['no object', '[1]\n'],
    ['another version', '{"v":2,"id":1,"do":"status"}\n'],
    ['no id', '{"v":1,"do":"status"}\n'],
    ['an unknown request', '{"v":1,"id":1,"do":"dance"}\n'],
    ['a scale out of range', '{"v":1,"id":1,"do":"scale","workers":0}\n'],
    ['a scale that is no number', '{"v":1,"id":1,"do":"scale","workers":"4"}\n'],
    ['a stop that says not how', '{"v":1,"id":1,"do":"stop"}\n'],
    ['deep JSON', `${'['.repeat(4000)}\n`],
    ['a line without an end', 'x'.repeat(5000)],
    ['bytes', Buffer.from([0, 255, 254, 10])],
  ];
  it('answers nonsense with an error, closes, and serves on', async () => {
    await start();
    for (const [name, bytes] of nonsense) {
      const socket = await open();
      socket.write(bytes);
      const answer = JSON.parse(await untilClosed(socket)) as object;
      expect(answer, name).toMatchObject({ v: 1, id: null, ok: false, error: { code: 'PROTOCOL' } });
    }
    expect(await status()).toMatchObject({ workersReady: 2, workersWanted: 2 });
  });

  it('closes a client that floods, and serves the others', async () => {
    await start();
    const flood = await open();
    const closed = untilClosed(flood);
    flood.write('{"v":1,"id":1,"do":"status"}\n'.repeat(1000));
    const lines = (await closed).trimEnd().split('\n');
    expect(lines.length).toBeLessThan(60);
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ ok: false, error: { code: 'BUSY' } });
    // One that never reads what it asks for is in nobody's way.
    const deaf = await open();
    deaf.pause();
    deaf.write('{"v":1,"id":1,"do":"status"}\n'.repeat(20));
    expect(await status()).toMatchObject({ workersReady: 2 });
  });

  it('has so many clients and no more', async () => {
    await start();
    const held = await Promise.all(Array.from({ length: 16 }, open));
    const further = await open();
    expect(await untilClosed(further)).toBe('');
    held[0]!.destroy();
    // The manager takes the place as free when it has seen that end.
    await vi.waitFor(async () => expect(await status()).toMatchObject({ workersReady: 2 }));
  });

  it.runIf(engine === 'native' && process.getuid!() === 0)(
    'refuses another user, whatever the mode',
    async () => {
      await start();
      chmodSync(directory, 0o755);
      chmodSync(path, 0o666);
      const script = `require('net').connect(${JSON.stringify(path)}).on('connect', function () {
      this.write('{"v":1,"id":1,"do":"stop","graceful":false}\\n');
    }).on('error', () => {}).on('data', (data) => process.stdout.write(data)).on('close', () => console.log('closed'));`;
      const stranger = spawn(
        'setpriv',
        ['--reuid', '65534', '--clear-groups', process.execPath, '-e', script],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      const lines: string[] = [];
      for await (const line of createInterface({ input: stranger.stdout })) lines.push(line);
      expect(lines).toEqual(['closed']);
      const refused = await service.event('control-refused');
      expect(refused).toMatchObject({ uid: 65534 });
      expect(await status()).toMatchObject({ state: 'running', workersReady: 2 });
    },
  );

  it('does not take the place of a file or of a manager that lives', async () => {
    await start();
    const second = Service.start(['-w', '1', '--control', path, entry], { engine });
    expect((await second.exited).code).toBe(1);
    expect(second.errors).toContain('another manager listens there');
    await second.dispose();
    expect(await status()).toMatchObject({ pid: service.pid });
  });

  it('replaces what a killed manager left', async () => {
    await start();
    service.signal('SIGKILL');
    await service.exited;
    expect(statSync(path).isSocket()).toBe(true);
    await service.dispose();
    await start();
    expect(await status()).toMatchObject({ pid: service.pid });
  });
});
