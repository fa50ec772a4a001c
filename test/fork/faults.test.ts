import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { exitOf, Forkserver, type ForkserverOptions } from './forkserver';
import { fixture, nodes } from './run';

/** Nobody else's, so that a limit on its processes counts ours only. */
const UNUSED_UID = 61_234;

function children(): number[] {
  const lists = readdirSync('/proc/self/task').map((tid) =>
    readFileSync(`/proc/self/task/${tid}/children`, 'latin1'),
  );
  return lists.join(' ').trim().split(/\s+/).filter(Boolean).map(Number);
}

function limitProcesses(pid: number, count: number): void {
  // As that user: root may lack the capability.
  const who = { uid: UNUSED_UID, gid: UNUSED_UID };
  execFileSync('prlimit', ['--pid', String(pid), `--nproc=${count}:`], { ...who, cwd: '/' });
}

describe.each(nodes)('with %s', (node) => {
  let server: Forkserver;
  const start = (way: string, options: ForkserverOptions = {}, ...args: string[]): Forkserver => {
    server = new Forkserver(fixture('apps/trouble.cjs'), { node, args: [way, ...args], ...options });
    return server;
  };
  afterEach(() => server.close());

  test('workers that end at once do not disturb the forkserver', async () => {
    start('nothing');
    await server.inbox.take('frozen');
    for (let i = 0; i < 20; i++) {
      const worker = await server.fork({ CRASH: '1' });
      expect(exitOf(await worker.ended)).toBe(11);
    }
    const good = await server.fork();
    await good.inbox.take('listening');
    expect(await server.get('/')).toEqual({});
  });

  test('workers that are killed while they stand up do not either', async () => {
    start('nothing');
    await server.inbox.take('frozen');
    for (let i = 0; i < 20; i++) {
      const worker = await server.fork();
      process.kill(worker.pid, 'SIGKILL');
      expect(exitOf(await worker.ended)).toBe('signal 9');
    }
    const good = await server.fork();
    await good.inbox.take('listening');
  });

  test('a forkserver that is killed between its forks takes no worker with it', async () => {
    start('nothing');
    await server.inbox.take('frozen');
    const inboxes = Array.from({ length: 6 }, () => server.command());
    await server.inbox.take('forked');
    process.kill(server.pid, 'SIGKILL');
    expect(exitOf(await server.ended)).toBe('signal 9');
    const hellos = await Promise.allSettled(inboxes.map((inbox) => inbox.take('hello')));
    const born = hellos.flatMap((hello, i) =>
      hello.status === 'fulfilled' ? [{ pid: hello.value.pid, inbox: inboxes[i]! }] : [],
    );
    expect(born.length).toBeGreaterThanOrEqual(1);
    const workers = born.map(({ pid, inbox }) => server.adopt(pid, inbox));
    for (const { inbox } of workers) await inbox.take('listening');
    expect(await server.get('/')).toEqual({});
    for (const { pid } of workers) process.kill(pid, 'SIGTERM');
    for (const { ended } of workers) expect(exitOf(await ended)).toBe(0);
    // No other was born without a word.
    const known = new Set(workers.map(({ pid }) => pid));
    expect(children().filter((pid) => known.has(pid))).toEqual([]);
  });

  test.runIf(process.getuid?.() === 0)(
    'a limit of processes is reported, and the next fork works when it is lifted',
    async () => {
      start('nothing', { uid: UNUSED_UID });
      await server.inbox.take('frozen');
      const threads = readdirSync(`/proc/${server.pid}/task`).length;

      limitProcesses(server.pid, threads);
      server.command();
      expect(await server.inbox.take('forkFailed')).toMatchObject({
        errno: -constants.errno.EAGAIN,
        step: 'clone',
        pid: 0,
      });

      // Enough for the process, too little for its threads.
      limitProcesses(server.pid, threads + 2);
      const inbox = server.command();
      const failed = await server.inbox.take('forkFailed');
      expect(failed).toMatchObject({ errno: -constants.errno.EAGAIN, step: 'revive' });
      expect(exitOf(await server.adopt(failed.pid, inbox).ended)).toBe(127);

      limitProcesses(server.pid, 4096);
      const worker = await server.fork();
      await worker.inbox.take('listening');
    },
  );

  test('a thread that does not come to rest is named', async () => {
    start('busyThread', { boot: { safety: 'warn' } });
    await server.inbox.take('frozen');
    server.command();
    const failed = await server.inbox.take('forkFailed');
    expect(failed).toMatchObject({ errno: -constants.errno.EAGAIN, step: 'threads', pid: 0, syscall: -1 });
    expect(readFileSync(`/proc/${server.pid}/task/${failed.tid}/comm`, 'utf8').trim()).toBe(failed.thread);
  });

  test('what keeps the program from coming to rest is named, and it freezes afterwards', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-fifo-'));
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    start('waitsForFifo', { boot: { busyAfterMs: 100 } }, fifo);
    const { problems } = await server.inbox.take('busy');
    expect(problems.join('\n')).toMatch(/work under way, FSREQCALLBACK, made at .*trouble\.cjs:\d+/);
    writeFileSync(fifo, '');
    await server.inbox.take('frozen');
    const worker = await server.fork();
    await worker.inbox.take('listening');
    rmSync(directory, { recursive: true });
  });

  test('a program that throws, or ends before it listens, is reported', async () => {
    start('throws');
    expect(await server.inbox.take('ended')).toEqual({ type: 'ended', code: 1 });
    expect(exitOf(await server.ended)).toBe(1);
    expect(server.stderr).toMatch(/cannot load/);
    await server.close();
    start('ends');
    expect(await server.inbox.take('ended')).toEqual({ type: 'ended', code: 0 });
    expect(exitOf(await server.ended)).toBe(0);
  });

  test('with every core taken by other work, workers are forked, serve and end', {
    timeout: 120_000,
  }, async () => {
    const hogs = [1, 2].map(() => spawn(node, ['-e', 'for (;;);'], { stdio: 'ignore' }));
    start('nothing');
    await server.inbox.take('frozen');
    for (let i = 0; i < 10; i++) {
      const worker = await server.fork();
      await worker.inbox.take('listening');
      process.kill(worker.pid, 'SIGTERM');
      expect(exitOf(await worker.ended)).toBe(0);
    }
    for (const hog of hogs) {
      hog.kill('SIGKILL');
      await once(hog, 'exit');
    }
  });
});
