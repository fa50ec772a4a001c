import { spawn as childProcessSpawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { type Child, type WaitResult, spawn, wait3, waitpid, watchExit } from '../../src/posix';
import { runAddonScript } from '../helpers/posix';

/** A child that runs until it is signalled, or this process ends. */
const sleeper = (): Child => spawn('/bin/sleep', ['1000'], { deathSignal: 'SIGKILL' });
const exits = (code: number): Child => spawn('/bin/sh', ['-c', `exit ${code}`]);
const exitOf = (target: Child | number) =>
  new Promise<WaitResult | undefined>((resolve) => watchExit(target, resolve));

describe('waitpid', () => {
  it('tells running, ended and unknown apart', () => {
    const child = sleeper();
    expect(waitpid(child, { noHang: true })).toBeNull();
    expect(waitpid(child.pid, { noHang: true })).toBeNull();
    expect(child.kill('SIGTERM')).toBe(true);
    const result = waitpid(child.pid);
    expect(result).toMatchObject({ pid: child.pid, status: 15, exitCode: null, signal: 'SIGTERM' });
    expect(result?.rusage.maxRssBytes).toBeGreaterThan(0);
    expect(child.reaped).toBe(true);
    expect(waitpid(child.pid)).toBeUndefined();
    expect(waitpid(process.pid)).toBeUndefined();
  });

  it('refuses pids that mean many', () => {
    for (const pid of [0, -1])
      expect(() => waitpid(pid)).toThrow(expect.objectContaining({ code: 'EINVAL', pid }));
    expect(() => waitpid('1' as unknown as number)).toThrow(TypeError);
  });

  it('measures what the child used', () => {
    const child = spawn('/bin/sh', ['-c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done']);
    const { rusage } = waitpid(child) as WaitResult;
    expect(rusage.userMs).toBeGreaterThan(0);
    expect(rusage.minorFaults).toBeGreaterThan(0);
  });
});

describe('wait3', () => {
  it('reaps own children alone', async () => {
    const foreign = childProcessSpawn('/bin/sh', ['-c', 'exit 5']);
    const foreignExit = once(foreign, 'exit');
    const own = [exits(1), exits(2), exits(3)];
    const codes = own.map(() => wait3()?.exitCode);
    expect(codes.sort()).toEqual([1, 2, 3]);
    expect(own.every((child) => child.reaped)).toBe(true);
    expect(wait3()).toBeUndefined();
    expect(wait3({ noHang: true })).toBeUndefined();
    expect(await foreignExit).toEqual([5, null]);
  });

  it('says null while none has ended', () => {
    const child = sleeper();
    expect(wait3({ noHang: true })).toBeNull();
    child.kill('SIGKILL');
    expect(wait3()).toMatchObject({ pid: child.pid, signal: 'SIGKILL' });
  });

  it('takes any child with any: true', () => {
    // In a process of its own: child_process there waits in vain, which is what the documentation says.
    const { stdout } = runAddonScript(`
      const foreign = require('child_process').spawn('/bin/sh', ['-c', 'exit 5'], { stdio: 'ignore' });
      const taken = addon.wait3(false, true);
      console.log(taken[0] === foreign.pid, taken[1] >> 8, addon.wait3(true, true));
      process.exit();
    `);
    expect(stdout).toBe('true 5 undefined\n');
  });
});

describe('watchExit', () => {
  it('calls back once, reaped, with the status', async () => {
    const child = exits(3);
    expect(await exitOf(child)).toMatchObject({ pid: child.pid, exitCode: 3 });
    expect(child).toMatchObject({ reaped: true, pidfd: -1 });
    expect(await exitOf(child)).toBeUndefined();
  });

  it('serves several watches on one child, and a disposed one never', async () => {
    const child = sleeper();
    const dispose = watchExit(child, () => expect.unreachable());
    const results = [exitOf(child), exitOf(child), exitOf(child.pid)];
    dispose();
    dispose();
    results.push(exitOf(child));
    child.kill('SIGINT');
    for (const result of await Promise.all(results)) expect(result).toMatchObject({ signal: 'SIGINT' });
  });

  it('passes on what another wait has reaped', async () => {
    const child = exits(9);
    const seen = exitOf(child);
    expect(waitpid(child)).toMatchObject({ exitCode: 9 });
    expect(await seen).toMatchObject({ exitCode: 9 });
  });

  it('can be disposed by another watch of the same batch', async () => {
    const children = [exits(0), exits(0)] as const;
    // Both have ended before the loop turns.
    const first = new Promise<string>((resolve) => {
      const disposeA = watchExit(children[0], () => {
        disposeB();
        resolve('a');
      });
      const disposeB = watchExit(children[1], () => {
        disposeA();
        resolve('b');
      });
    });
    await first;
    for (const child of children) waitpid(child);
    await new Promise(setImmediate);
    expect(children.every((child) => child.reaped)).toBe(true);
  });

  it('sees the end of a process that is not its child, and takes nothing from child_process', async () => {
    const foreign = childProcessSpawn('/bin/sh', ['-c', 'read line; exit 5'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const [exit, seen] = [once(foreign, 'exit'), exitOf(foreign.pid as number)];
    foreign.stdin?.end('\n');
    expect(await seen).toBeUndefined();
    expect(await exit).toEqual([5, null]);
    expect(await exitOf(foreign.pid as number)).toBeUndefined(); // long gone
  });

  it('reaps a thousand killed at once, each once and truly', async () => {
    const children = Array.from({ length: 1000 }, sleeper);
    const calls = new Map<number, number>();
    const results = children.map(
      (child) =>
        new Promise<WaitResult | undefined>((resolve) =>
          watchExit(child, (result) => {
            calls.set(child.pid, (calls.get(child.pid) ?? 0) + 1);
            resolve(result);
          }),
        ),
    );
    for (const [index, child] of children.entries()) child.kill(index % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    for (const [index, result] of (await Promise.all(results)).entries()) {
      expect(result).toMatchObject({
        pid: children[index]?.pid,
        signal: index % 2 === 0 ? 'SIGKILL' : 'SIGTERM',
      });
    }
    expect([...calls.values()].every((count) => count === 1)).toBe(true);
    expect(calls.size).toBe(1000);
    expect(wait3({ noHang: true })).toBeUndefined();
  }, 180_000);

  it('never loses an exit of child_process in the same process', async () => {
    const expected: unknown[] = [];
    const seen: Promise<unknown>[] = [];
    for (let index = 0; index < 500; index++) {
      const code = index % 200;
      if (index % 2 === 0) {
        expected.push([code, null]);
        seen.push(once(childProcessSpawn('/bin/sh', ['-c', `exit ${code}`], { stdio: 'ignore' }), 'exit'));
      } else if (index % 4 === 1) {
        expected.push(code);
        seen.push(exitOf(exits(code)).then((result) => result?.exitCode));
      } else {
        // Left to wait3, which runs among all the others.
        expected.push(code);
        const child = exits(code);
        seen.push(new Promise((resolve) => child.onReaped((result) => resolve(result?.exitCode))));
      }
      wait3({ noHang: true });
    }
    const all = Promise.all(seen);
    while (wait3({ noHang: true }) !== undefined) await new Promise(setImmediate);
    expect(await all).toEqual(expected);
  }, 180_000);

  it('keeps the event loop alive only while it waits, and leaves without harm in the middle', () => {
    const sleep = "{ file: '/bin/sleep', args: ['sleep', '0.05'], env, fds: [] }";
    const waiting = runAddonScript(`
      const child = addon.spawn(${sleep});
      const poller = addon.createPoller((ids) => {
        console.log(ids, addon.waitpid(child.pid, child.pidfd, true)[1]);
        poller.unref();
      });
      poller.add(child.pidfd, 7);
    `);
    expect(waiting).toEqual({ stdout: '[ 7 ] 0\n', stderr: '', status: 0 });
    const leaving = runAddonScript(`
      const child = addon.spawn(${sleep});
      const poller = addon.createPoller(() => {});
      poller.add(child.pidfd, 7);
      process.exit(3);
    `);
    expect(leaving).toEqual({ stdout: '', stderr: '', status: 3 });
  });
});

describe('watchExit without pidfds', () => {
  /** The addon as it is on Linux before 5.3. */
  function withoutPidfds(): Disposable {
    const { binding } = loadBinding();
    if (binding === null) throw new Error('the addon is not built');
    const spawnWithPidfd = binding.spawn;
    const spies = [
      vi.spyOn(binding, 'spawn').mockImplementation((spec) => {
        const result = spawnWithPidfd(spec);
        if ('errno' in result) return result;
        binding.close(result.pidfd);
        return { pid: result.pid, pidfd: -1 };
      }),
      vi.spyOn(binding, 'pidfdOpen').mockReturnValue(-38),
    ];
    return {
      [Symbol.dispose]: () => {
        for (const spy of spies) spy.mockRestore();
      },
    };
  }

  it('is told by SIGCHLD, of several at once and of one that had ended before', async () => {
    using _ = withoutPidfds();
    const early = exits(4);
    // It has ended for certain: nothing will signal it any more.
    while (!/^State:\tZ/m.test(readFileSync(`/proc/${early.pid}/status`, 'utf8')))
      await new Promise(setImmediate);
    const children = [early, ...Array.from({ length: 20 }, sleeper)];
    const results = children.map(exitOf);
    for (const child of children.slice(1)) child.kill('SIGTERM');
    const [first, ...others] = await Promise.all(results);
    expect(first).toMatchObject({ exitCode: 4 });
    for (const result of others) expect(result).toMatchObject({ signal: 'SIGTERM' });
    expect(process.listenerCount('SIGCHLD')).toBe(0);
  });

  it('cannot watch a process that is no child of this module’s', () => {
    using _ = withoutPidfds();
    expect(() => watchExit(process.pid, () => {})).toThrow(expect.objectContaining({ code: 'ENOSYS' }));
  });
});

describe('the poller', () => {
  it('runs ticks and microtasks after each call, and throws as any callback does', () => {
    const result = runAddonScript(`
      const child = addon.spawn({ file: '/bin/true', args: ['true'], env, fds: [] });
      process.on('uncaughtException', (error) => { console.log(error.message); poller.close(); poller.close(); });
      const poller = addon.createPoller(() => {
        poller.remove(child.pidfd);
        Promise.resolve().then(() => console.log('microtask'));
        process.nextTick(() => console.log('tick'));
        throw new Error('thrown');
      });
      poller.add(child.pidfd, 0);
      process.on('exit', () => console.log(poller.add(child.pidfd, 0), poller.remove(child.pidfd)));
    `);
    expect(result).toEqual({ stdout: 'thrown\ntick\nmicrotask\n-9 -9\n', stderr: '', status: 0 });
  });

  it('goes with its worker thread', () => {
    const result = runAddonScript(`
      const { Worker } = require('worker_threads');
      const body = \`
        const addon = require('node-gyp-build')(\${JSON.stringify(${JSON.stringify(process.cwd())})});
        const child = addon.spawn({ file: '/bin/sleep', args: ['sleep', '1000'], env: [], fds: [] });
        globalThis.poller = addon.createPoller(() => {});
        poller.add(child.pidfd, 1);
        require('worker_threads').parentPort.postMessage(child.pid);
      \`;
      (async () => {
        for (let round = 0; round < 5; round++) {
          const worker = new Worker(body, { eval: true });
          const pid = await new Promise((resolve) => worker.once('message', resolve));
          await worker.terminate();
          addon.kill(pid, 9);
          console.log(addon.waitpid(pid, -1, false)[1]);
        }
      })();
    `);
    expect(result).toEqual({ stdout: '9\n'.repeat(5), stderr: '', status: 0 });
  });
});
