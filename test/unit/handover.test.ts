import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stateWithKept } from '../../src/core/kept';
import { defaultPolicy } from '../../src/core/policy';
import { initialState } from '../../src/core/state';
import { loadBinding } from '../../src/engine/binding';
import {
  adapted,
  checkSchema,
  descriptorsOf,
  HANDOVER_SCHEMA,
  type Handover,
  readHandover,
  writeHandover,
} from '../../src/manager/handover';
import { takeUpgradeTask, upgradeVariables } from '../../src/manager/upgrade-environment';

const HOOK = '/old/dist/worker/hook.js';

/** Of a manager with one worker, without what these tests do not look at. */
function handover(): Handover {
  const policy = { ...defaultPolicy, workers: 1 };
  const { workers } = stateWithKept(policy, 1, 7, [
    { workerId: 1, pid: 10, slot: 0, generation: 1, listening: ['a'] },
  ]);
  const preload = { boot: {}, preload: { instead: HOOK, file: '/old/dist/preload/forkserver.js' } };
  const launch = { file: 'node', args: ['node', '--require', HOOK, 'server.js'], preload };
  return {
    schema: HANDOVER_SCHEMA,
    former: { version: '0.1.0', script: '/current/prefork.js' },
    atMs: 1,
    options: { workers: 1, entry: 'server.js' },
    manager: {
      state: { ...initialState(policy, 1, 7), workers },
      plans: [[1, { policy, launch, bind: [] }]],
      workers: [],
      adoptions: [],
      hadTerminal: false,
      events: [],
    },
    engine: {
      children: [{ workerId: 1, pid: 10, pidfd: -1, channel: 20 }],
      events: [],
      forkservers: [{ generation: 1, pid: 11, pidfd: 25, channel: 26 }],
    },
    listeners: {
      listeners: [
        {
          key: 'a',
          sockets: [
            [0, { fd: 21 }],
            [1, { fd: 22 }],
          ],
        },
      ],
      sites: [],
    },
    board: [
      { workerId: 1, slot: 0, generation: 1, fd: 27 },
      { workerId: 2, slot: 1, generation: 1, fd: -1 },
    ],
    protocols: [],
    pidFile: { path: '/run/pid', fd: 23 },
    hook: HOOK,
    guardFd: 24,
    fds: [],
  } as unknown as Handover;
}

describe('handover', () => {
  it('names every descriptor that must stay open, and none that there is not', () => {
    expect(descriptorsOf(handover()).sort()).toEqual([20, 21, 22, 23, 24, 25, 26, 27]);
  });

  it.skipIf(loadBinding().binding === null)(
    'comes out of its memfd as it went in, twice, and cannot be changed',
    () => {
      const binding = loadBinding().binding!;
      const fd = writeHandover(binding, handover());
      expect(fd).toBeGreaterThan(2);
      expect(readHandover(fd)).toEqual(JSON.parse(JSON.stringify(handover())));
      expect(readHandover(fd).schema).toBe(HANDOVER_SCHEMA);
      expect(() => writeSync(fd, 'x', 0)).toThrow('EPERM');
      binding.close(fd);
    },
  );

  it('says which schema it does not know, and what is no state at all', () => {
    expect(() => checkSchema({ ...handover(), schema: 99 })).toThrow('schema 99');
    checkSchema(handover());
    const path = join(tmpdir(), `prefork-handover-${process.pid}`);
    const fd = openSync(path, 'w+');
    unlinkSync(path);
    writeSync(fd, '{"schema":"1"}');
    expect(() => readHandover(fd)).toThrow('no state');
    closeSync(fd);
    expect(() => readHandover(fd)).toThrow('EBADF');
  });

  it('of an older version has what it did not know at its usual value, and the new hook', () => {
    const old = JSON.parse(JSON.stringify(handover())) as Record<string, Record<string, unknown>>;
    const { state } = old.manager as { state: Record<string, unknown> };
    delete state.stagger;
    delete state.elastic;
    for (const name of ['minWorkers', 'maxWorkers', 'elastic', 'maxAgeMs'])
      delete (state.policy as Record<string, unknown>)[name];
    for (const w of state.workers as Record<string, unknown>[]) {
      delete w.retiringAtMs;
      delete w.ageUpAtMs;
    }
    delete (state.policy as Record<string, unknown>).secondStop;
    delete (old as Record<string, unknown>).board;
    const files = { hook: '/new/hook.js', forkserver: '/new/forkserver.js' };
    const { manager, options, board } = adapted(old as unknown as Handover, files);
    expect(manager.state).toEqual(handover().manager.state);
    const { launch } = manager.plans[0]![1];
    expect(launch.args).toEqual(['node', '--require', files.hook, 'server.js']);
    expect(launch.scoreboard).toBeNull();
    expect(board).toEqual([]);
    expect(launch.preload?.preload).toEqual({ instead: files.hook, file: files.forkserver });
    expect(options).toMatchObject({ workers: 1, entry: 'server.js', reusePort: false });
  });
});

describe('the task of a successor', () => {
  it.each([
    ['take-over', undefined],
    ['check', '/usr/lib/libone.so:/usr/lib/libtwo.so'],
  ] as const)('%s goes through the environment and leaves no trace in it', (kind, preload) => {
    const before = { PATH: '/bin', ...(preload !== undefined && { LD_PRELOAD: preload }) };
    const task = { kind, fd: 7, signals: [1, 15], failure: 'x'.repeat(3000) };
    const env: NodeJS.ProcessEnv = { ...before, ...upgradeVariables(task, 9, before) };
    expect(env.LD_PRELOAD?.split(':')[0]).toBe('/proc/self/fd/9');
    expect(takeUpgradeTask(env)).toEqual({ ...task, failure: 'x'.repeat(2000) });
    expect(env).toEqual(before);
    expect(takeUpgradeTask(env)).toBeNull();
  });
});
