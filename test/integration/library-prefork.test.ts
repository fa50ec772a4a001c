/** What Parallel::Prefork's own tests show of it, and what is ours: of real processes, on both engines. */
import { afterEach, describe, expect, it } from 'vitest';
import { Program, type Said } from '../helpers/program';
import { ended } from '../helpers/commands';
import { engines, fixture } from '../helpers/service';

describe.each(engines)('new Prefork(), %s engine', (engine) => {
  let program: Program;
  afterEach(() => program.dispose());

  const start = (name: string, options: object = {}): Program => {
    program = Program.start([fixture(`library/${name}.cjs`)], engine, {
      PREFORK_TEST_OPTIONS: JSON.stringify({ engine, ...options }),
    });
    return program;
  };
  const pidsOf = (said: readonly Said[], field = 'pid'): number[] =>
    said.map((line) => line[field] as number).sort((a, b) => a - b);

  it('starts ten workers, and tells all of them TERM', async () => {
    start('loop');
    const workers = await program.all('worker', 10);
    expect(new Set(pidsOf(workers)).size).toBe(10);
    for (const worker of workers) {
      expect(worker).toMatchObject({ generation: 1, manager: program.pid, isWorker: true });
    }
    expect(new Set(workers.map(({ id }) => id))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    expect(await program.stop()).toBe(0);
    expect(await program.event('returned')).toMatchObject({ signal: 'TERM', generation: 1, workers: 10 });
    const reaped = await program.all('reap', 10);
    expect(pidsOf(reaped, 'worker')).toEqual(pidsOf(workers));
    expect(reaped.every(({ status }) => status === 15)).toBe(true);
    expect(await program.event('left')).toMatchObject({ count: 0 });
    expect(program.count('worker')).toBe(10);
    expect(program.errors).toBe('');
  });

  it('calls the hooks of a fork in the manager, at least ten times', async () => {
    start('loop');
    const workers = await program.all('worker', 10);
    const after = await program.all('afterFork', 10);
    const before = await program.all('beforeFork', 10);
    expect(before.map(({ workers }) => workers)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...before, ...after].every(({ pid }) => pid === program.pid)).toBe(true);
    expect(pidsOf(after, 'worker')).toEqual(pidsOf(workers));
    expect(await program.stop()).toBe(0);
  });

  it('returns from start() at HUP, and goes on with workers of the next generation', async () => {
    start('loop', { maxWorkers: 3 });
    const first = await program.all('worker', 3);
    program.signal('SIGHUP');
    const second = await program.all('worker', 3, ({ generation }) => generation === 2);
    expect(await program.event('returned')).toMatchObject({ signal: 'HUP', generation: 1 });
    expect(pidsOf(await program.all('reap', 3), 'worker')).toEqual(pidsOf(first));
    // What the manager did since it began is there in a forked worker, and not in a script begun anew.
    expect(second.map(({ loads }) => loads)).toEqual(Array(3).fill(engine === 'native' ? 2 : 1));
    expect(await program.stop()).toBe(0);
    expect(program.count('worker')).toBe(6);
  });

  it('takes a signal that comes between two calls of start()', async () => {
    start('loop', { maxWorkers: 1 });
    await program.event('worker');
    program.signal('SIGHUP');
    program.signal('SIGTERM');
    await program.exited;
    const returned = program.said.filter(({ event }) => event === 'returned').map(({ signal }) => signal);
    expect(returned.at(-1)).toBe('TERM');
    expect(await program.event('left')).toMatchObject({ count: 0 });
  });

  it('starts one worker an interval', async () => {
    start('loop', { maxWorkers: 4, spawnInterval: '150ms' });
    await program.all('worker', 4);
    const at = (await program.all('afterFork', 4)).map(({ atMs }) => atMs);
    for (const [index, atMs] of at.slice(1).entries()) expect(atMs - at[index]!).toBeGreaterThanOrEqual(149);
    expect(await program.stop()).toBe(0);
  });

  it('ends one worker an interval', async () => {
    start('loop', { maxWorkers: 4, trapSignals: { TERM: ['TERM', 150] } });
    await program.all('worker', 4);
    expect(await program.stop()).toBe(0);
    const at = (await program.all('reap', 4)).map(({ atMs }) => atMs);
    // The end of one may be seen late, and that of the next in time.
    expect(at[3]! - (await program.event('returned')).atMs).toBeGreaterThanOrEqual(400);
    expect(
      new Set(program.said.filter(({ event }) => event === 'reap').map(({ worker }) => worker)).size,
    ).toBe(4);
  });

  it('keeps spare workers: three at first, ten when all are busy, five when none is any more', async () => {
    start('spare');
    const idle = await program.all('worker', 3);
    const busy = new Set<number>();
    for (let count = 3; busy.size < 10; count = Math.min(10, busy.size + 3)) {
      for (const { pid } of await program.all('worker', count)) {
        if (busy.has(pid)) continue;
        busy.add(pid);
        process.kill(pid, 'SIGUSR2');
        await program.event('busy', (said) => said.pid === pid);
      }
    }
    expect(idle.length).toBe(3);
    expect(program.count('reap')).toBe(0);
    for (const pid of busy) process.kill(pid, 'SIGUSR2');
    await program.all('reap', 5);
    program.signal('SIGTERM');
    expect(await program.event('returned')).toMatchObject({ workers: 5, busy: 0 });
    await program.exited;
    expect(program.count('worker')).toBe(10);
  });

  it('waits as long as it is told, and not at all', async () => {
    start('waits');
    await program.all('worker', 20);
    program.process.stdin!.write('go\n');
    expect((await program.exited).code).toBe(0);
    const { said } = program;
    expect(said.find(({ event }) => event === 'returned')).toMatchObject({ signal: 'USR2', workers: 20 });
    const waited = said.filter(({ event }) => event === 'waited');
    expect(waited.map(({ ms, left }) => [ms, left])).toEqual([
      [0, 20],
      [100, 20],
      [100, 10],
      [30_000, 0],
      [0, 0],
    ]);
    for (const { ms, left, tookMs } of waited) {
      if (ms === 100) expect(tookMs).toBeGreaterThanOrEqual(99);
      if (left === 0) expect(tookMs).toBeLessThan(30_000);
    }
  });

  it('goes on when hooks throw, hang and call back', async () => {
    start('hooks');
    expect((await program.exited).code).toBe(0);
    expect(await program.event('returned')).toMatchObject({ forked: 10, signal: 'TERM' });
    expect(await program.event('left')).toMatchObject({ count: 0 });
    const warnings = program.said.filter(({ event }) => event === 'warning').map(({ message }) => message);
    expect(warnings).toContain('the hook beforeFork failed: no coffee');
    expect(warnings).toContain('the hook onChildReap failed: no tea');
    expect(warnings).toContain('the hook afterFork is not done after 30 ms; it is no longer waited for');
    expect(await program.event('nested')).toMatchObject({
      code: 'ERR_PREFORK_STATE',
      message: 'start() was called while another call waits',
    });
  });

  it('refuses what cannot be called where it is called', async () => {
    start('calls');
    expect((await program.exited).code).toBe(0);
    const threw = program.said.filter(({ event }) => event === 'threw');
    expect(threw.map(({ name, code }) => [name, code ?? null])).toEqual([
      ['finish', 'ERR_PREFORK_STATE'],
      ['tick', 'ERR_PREFORK_STATE'],
      ['setBusy', 'ERR_PREFORK_STATE'],
      ['signal', 'ERR_PREFORK_OPTION_VALUE'],
      ['maxWorkers', 'ERR_PREFORK_OPTION_VALUE'],
      ['waitAllChildren', null],
      ['start in a worker', 'ERR_PREFORK_STATE'],
      ['waitAllChildren in a worker', 'ERR_PREFORK_STATE'],
    ]);
    expect(await program.event('ticks')).toMatchObject({ first: true, last: false, after: false });
    expect(await program.event('reap')).toMatchObject({ status: 7 << 8 });
  });

  it('waits before it starts another after one that failed, and takes no exit from child_process', async () => {
    start('failing');
    expect((await program.exited).code).toBe(0);
    expect(await program.event('own')).toMatchObject({ code: 5 });
    expect(program.errors).toContain('cannot work like this');
    const reaped = await program.all('reap', 4);
    // One that is told to end before it has begun ends as if it had been asked: by the signal, or with 0.
    expect(reaped.every(({ status }) => [1 << 8, 15, 0].includes(status as number))).toBe(true);
    const forked = program.said.filter(({ event }) => event === 'forked');
    expect(forked[3]!.atMs - reaped[0]!.atMs).toBeGreaterThanOrEqual(199);
  });

  it('leaves no worker behind when the manager is killed', async () => {
    start('loop', { maxWorkers: 2 });
    const workers = await program.all('worker', 2);
    await program.stop('SIGKILL');
    for (const pid of pidsOf(workers)) await ended(pid);
  });

  it('loads nothing of it with the package', async () => {
    const script = `import { Prefork, defineConfig } from 'prefork';
      import { createRequire } from 'node:module';
      const { cache } = createRequire(import.meta.url);
      const loaded = Object.keys(cache).filter((file) => /pool|engine|valibot|pino/.test(file));
      console.log(JSON.stringify({ event: 'light', loaded, types: [typeof Prefork, typeof defineConfig] }));`;
    program = Program.start(['--input-type=module', '-e', script], engine);
    expect(await program.event('light')).toMatchObject({ loaded: [], types: ['function', 'function'] });
    await program.exited;
  });

  it('kills a worker that ticked and does so no more', async () => {
    start('silent');
    const [first] = await program.all('ticked', 1);
    expect(await program.event('reap', ({ worker }) => worker === first!.pid)).toMatchObject({ status: 9 });
    expect((await program.event('warning')).message).toBe(
      `worker ${first!.pid} has not ticked for 300 ms, and is killed`,
    );
    expect(await program.stop()).toBe(0);
  });

  it('begins the script anew where it cannot fork, and says why', async () => {
    start('unsafe');
    const workers = await program.all('worker', 2);
    expect(workers.every(({ copied }) => copied === false)).toBe(true);
    expect(await program.stop()).toBe(0);
    const warnings = program.said.filter(({ event }) => event === 'warning').map(({ message }) => message);
    if (engine === 'js') expect(warnings).toEqual([]);
    else {
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(
        /^workers run the script from its beginning: not safe to fork: an open UDP socket/,
      );
    }
  });

  it('begins no script where only a fork will do', async () => {
    start('unsafe', { startMethod: 'fork' });
    const code = engine === 'js' ? 'ERR_PREFORK_FORK_UNSUPPORTED' : 'ERR_PREFORK_FORK_UNSAFE';
    expect(await program.event('threw')).toMatchObject({ code });
    await program.exited;
    expect(program.count('worker')).toBe(0);
  });
});
