/** What every engine must do. Runs against native, js and the simulated world, so that none drifts from the others. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine, EngineEvent, SpawnSpec, WorkerHandle } from '../../src/engine/engine';
import type { Program } from '../sim/kernel';

export interface World {
  engine: Engine;
  /** how a process that acts out the program is started */
  command(program: Program): Pick<SpawnSpec, 'file' | 'args'>;
  /** what there is no file for */
  missing: string;
  now(): number;
  /** listens on a port of 127.0.0.1 without the engine's help */
  occupy(): Promise<{ port: number; release(): void }>;
}

type Exited = Extract<EngineEvent, { type: 'exited' }>;

/** Bound of one wait, in the world's time. */
const LONG_MS = 10_000;

export function engineContract(name: string, open: () => World): void {
  describe(`engine contract: ${name}`, () => {
    let world: World;
    let events: EngineEvent[];
    let nextId: number;

    beforeEach(() => {
      world = open();
      events = [];
      nextId = 1;
    });
    afterEach(() => world.engine.close());

    function spec(program: Program, more: Partial<SpawnSpec> = {}): SpawnSpec {
      return {
        workerId: nextId++,
        ...world.command(program),
        env: { PATH: process.env.PATH ?? '' },
        inherit: [],
        channel: true,
        stdio: [-1, -1, -1],
        setsid: true,
        dieWithManager: true,
        ...more,
      };
    }

    function start(program: Program, more: Partial<SpawnSpec> = {}): WorkerHandle {
      const result = world.engine.spawn(spec(program, more));
      if (!('handle' in result)) throw new Error(`spawn failed: ${JSON.stringify(result)}`);
      return result.handle;
    }

    /** Waits until an event fits; keeps all that came. */
    async function until<E extends EngineEvent>(fits: (event: EngineEvent) => event is E): Promise<E> {
      const deadlineMs = world.now() + LONG_MS;
      for (;;) {
        const found = events.find(fits);
        if (found) return found;
        if (world.now() >= deadlineMs) throw new Error(`no such event; came: ${JSON.stringify(events)}`);
        events.push(...(await world.engine.wait(deadlineMs)));
      }
    }

    const exitOf =
      (worker: { workerId: number }) =>
      (event: EngineEvent): event is Exited =>
        event.type === 'exited' && event.workerId === worker.workerId;
    const sayingOf =
      (worker: { workerId: number }, type: string) =>
      (event: EngineEvent): event is Extract<EngineEvent, { type: 'message' }> =>
        event.type === 'message' &&
        event.workerId === worker.workerId &&
        (event.message as { type?: string }).type === type;
    const say = (type: string): Program['acts'][number] => ({ afterMs: 0, say: { type } });

    it.each([0, 1, 3, 255])('reports exit code %i', async (exit) => {
      const worker = start({ acts: [{ afterMs: 0, exit }] });
      const end = await until(exitOf(worker));
      expect(end).toMatchObject({ pid: worker.pid, status: exit << 8, exitCode: exit, signal: null });
    });

    it.each(['SIGTERM', 'SIGKILL', 'SIGHUP'] as const)('reports the end by %s', async (signal) => {
      const worker = start({ acts: [say('up')] });
      await until(sayingOf(worker, 'up'));
      expect(world.engine.signal(worker, signal)).toBe('sent');
      expect(await until(exitOf(worker))).toMatchObject({ exitCode: null, signal });
    });

    it('delivers a signal that the worker answers itself', async () => {
      const worker = start({
        acts: [say('up')],
        on: {
          SIGTERM: [
            { afterMs: 0, say: { type: 'told' } },
            { afterMs: 20, exit: 7 },
          ],
        },
      });
      await until(sayingOf(worker, 'up'));
      world.engine.signal(worker, 'SIGTERM');
      await until(sayingOf(worker, 'told'));
      expect(await until(exitOf(worker))).toMatchObject({ exitCode: 7 });
    });

    it('kills a worker that ignores TERM', async () => {
      const worker = start({ acts: [say('up')], on: { SIGTERM: 'ignore' } });
      await until(sayingOf(worker, 'up'));
      world.engine.signal(worker, 'SIGTERM');
      world.engine.signal(worker, 'SIGKILL');
      expect(await until(exitOf(worker))).toMatchObject({ signal: 'SIGKILL' });
    });

    it('has nothing to signal after the end', async () => {
      const worker = start({ acts: [{ afterMs: 0, exit: 0 }] });
      await until(exitOf(worker));
      expect(world.engine.signal(worker, 'SIGTERM')).toBe('gone');
      expect(world.engine.send(worker, { type: 'late' })).toBe(false);
    });

    it('reports what a worker said last before its end, in order', async () => {
      const acts = Array.from({ length: 20 }, (_, index) => ({ afterMs: 0, say: { type: 'said', index } }));
      const worker = start({ acts: [...acts, { afterMs: 30, exit: 1 }] });
      await until(exitOf(worker));
      const said = events
        .filter(sayingOf(worker, 'said'))
        .map((event) => (event.message as { index: number }).index);
      expect(said).toEqual(acts.map((_, index) => index));
      const kinds = events.map((event) => event.type);
      expect(kinds.lastIndexOf('message')).toBeLessThan(kinds.indexOf('exited'));
    });

    it('carries messages both ways', async () => {
      const worker = start({ acts: [say('up')], echo: true });
      await until(sayingOf(worker, 'up'));
      expect(world.engine.send(worker, { type: 'echo', text: 'ä\n"' })).toBe(true);
      const answer = await until(sayingOf(worker, 'echo'));
      expect(answer.message).toEqual({ type: 'echo', text: 'ä\n"' });
      world.engine.signal(worker, 'SIGKILL');
      await until(exitOf(worker));
    });

    it('says why a file cannot be run, at once or by an event, and leaves no child', async () => {
      const failing = { ...spec({ acts: [] }), file: world.missing };
      const result = world.engine.spawn(failing);
      if ('code' in result) {
        expect(result).toMatchObject({ code: 'ENOENT', step: expect.any(String) });
        expect(result.errno).toBeLessThan(0);
        return;
      }
      expect(result).toEqual({ pending: true });
      const late = await until(
        (event): event is Extract<EngineEvent, { type: 'spawnFailed' }> => event.type === 'spawnFailed',
      );
      expect(late).toMatchObject({ workerId: failing.workerId, code: 'ENOENT' });
      expect(late.errno).toBeLessThan(0);
    });

    it('reports each of many ends exactly once, with its own status', async () => {
      const workers = Array.from({ length: 24 }, (_, index) => ({
        ...start({ acts: [{ afterMs: 0, exit: index }] }),
        exit: index,
      }));
      for (const worker of workers) await until(exitOf(worker));
      const ends = events.filter((event): event is Exited => event.type === 'exited');
      expect(ends).toHaveLength(workers.length);
      for (const worker of workers)
        expect(ends.find(exitOf(worker))).toMatchObject({ exitCode: worker.exit });
    });

    it('wakes at its deadline without an event, and when it is woken', async () => {
      const before = world.now();
      expect(await world.engine.wait(before + 50)).toEqual([]);
      expect(world.now()).toBeGreaterThanOrEqual(before + 50);
      world.engine.wake();
      expect(await world.engine.wait(Number.POSITIVE_INFINITY)).toEqual([]);
    });

    const loopback = {
      kind: 'tcp',
      address: '127.0.0.1',
      backlog: 16,
      reusePort: false,
      ipv6Only: false,
    } as const;

    it('opens a socket and says which port it got', async () => {
      const result = await world.engine.listen({ ...loopback, port: 0 });
      if (!('listener' in result)) throw new Error(result.code);
      expect(result.listener).toMatchObject({ address: '127.0.0.1', port: expect.any(Number) });
      expect(result.listener.port).toBeGreaterThan(0);
      world.engine.closeListener(result.listener);
    });

    it('refuses a port where somebody listens', async () => {
      const other = await world.occupy();
      expect(await world.engine.listen({ ...loopback, port: other.port })).toMatchObject({
        code: 'EADDRINUSE',
      });
      other.release();
    });
  });
}
