/**
 * Workers made to hang one after the other, in every way, under load on the others: each is noticed in time and replaced, no healthy
 * one is touched, and no request to a healthy one fails. PREFORK_HUNG_WORKERS=100 makes as many hang on each engine.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, type ClientRequest, get as getHttp, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { engines, fixture, type LogLine, Service } from '../helpers/service';

const COUNT = Number(process.env.PREFORK_HUNG_WORKERS ?? 3);
const WORKERS = 3;
const INTERVAL_MS = 250;
const TIMEOUT_MS = 1500;
/** A look may be late on a machine that is busy with other things. */
const LATE_MS = 1000;
const CONNECTIONS = 8;
/** What the log says of each way to hang. */
const WAYS = [
  ['/loop', 'endlessLoop'],
  ['/read', 'read(2) of descriptor'],
  ['SIGSTOP', 'stopped'],
] as const;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** The pid of the worker that took the request. */
async function answerTo(request: ClientRequest): Promise<number> {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return Number(await text(response));
}

/** A connection that asks without end, and knows which worker it is on. */
class Connection {
  worker: number | null = null;
  readonly failed: { worker: number | null; error: unknown }[] = [];
  readonly ended: Promise<void>;
  #stopping = false;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #onAnswer: (() => void)[] = [];

  constructor(port: number) {
    this.ended = this.#run(port);
  }

  /** Resolves with the next answer of another worker than those. */
  async answered(but: ReadonlySet<number>): Promise<void> {
    do await new Promise<void>((resolve) => this.#onAnswer.push(resolve));
    while (this.worker === null || but.has(this.worker));
  }

  stop(): Promise<void> {
    this.#stopping = true;
    return this.ended;
  }

  async #run(port: number): Promise<void> {
    while (!this.#stopping) {
      const request = getHttp({ port, host: '127.0.0.1', agent: this.#agent });
      try {
        this.worker = await answerTo(request);
        for (const resolve of this.#onAnswer.splice(0)) resolve();
        await pause(5);
      } catch (error) {
        // A new connection may have been to any of them.
        this.failed.push({ worker: request.reusedSocket ? this.worker : null, error });
      }
    }
    this.#agent.destroy();
  }
}

interface Hung extends LogLine {
  silentMs: number;
  stuck: object;
}

async function hangInTurn(context: TestContext, engine: (typeof engines)[number]) {
  const beats = ['--heartbeat-interval', `${INTERVAL_MS}ms`, '--heartbeat-timeout', `${TIMEOUT_MS}ms`];
  const args = ['-w', String(WORKERS), '-b', '127.0.0.1:0', '--graceful-timeout', '200ms', ...beats];
  const env = { TEST_FIFO: join(directory, 'fifo') };
  const service = Service.start([...args, fixture('stuck.js')], { engine, env });
  context.onTestFinished(() => service.dispose());
  const { port } = await service.serving();
  const load = Array.from({ length: CONNECTIONS }, () => new Connection(port));
  const hung = new Set<number>();
  const silent: number[] = [];
  for (let i = 0; i < COUNT; i++) {
    // Each has its connection again, to one that does not hang.
    await Promise.all(load.map((connection) => connection.answered(hung)));
    const [way, told] = WAYS[i % WAYS.length]!;
    const pid = await answerTo(
      getHttp({ port, host: '127.0.0.1', path: way === 'SIGSTOP' ? '/' : way, agent: false }),
    );
    hung.add(pid);
    if (way === 'SIGSTOP') process.kill(pid, 'SIGSTOP');
    const { silentMs, stuck } = (await service.event('worker-hung')) as Hung;
    silent.push(silentMs);
    expect(JSON.stringify(stuck)).toContain(told);
    await service.event('worker-exited', (line) => line.pid === pid);
  }
  await Promise.all(load.map((connection) => connection.answered(hung)));
  await Promise.all(load.map((connection) => connection.stop()));
  expect((await service.stop()).code).toBe(0);
  return { service, hung, silent, failed: load.flatMap(({ failed }) => failed) };
}

describe.concurrent.each(engines)('workers that hang in turn, %s engine', (engine) => {
  it('are each noticed in time and replaced, and nobody else', {
    timeout: 60_000 + COUNT * 10_000,
  }, async (context) => {
    const { service, hung, silent, failed } = await hangInTurn(context, engine);
    expect(hung.size).toBe(COUNT);
    expect(Math.max(...silent)).toBeLessThanOrEqual(TIMEOUT_MS + INTERVAL_MS + LATE_MS);
    const blamed = service.lines.filter(({ event }) => /worker-(hung|recovered)/.test(event ?? ''));
    expect(new Set(blamed.map(({ pid }) => pid!))).toEqual(hung);
    // Until the stop, which all hear.
    const stop = service.lines.findIndex(({ event }) => event === 'stopping');
    const exited = service.lines.slice(0, stop).filter(({ event }) => event === 'worker-exited');
    expect(exited.map(({ pid }) => pid)).toEqual([...hung]);
    expect(failed.filter(({ worker }) => worker === null || !hung.has(worker))).toEqual([]);
    if (COUNT > WAYS.length) tell(engine, silent, failed.length);
  });
});

function tell(engine: string, silent: number[], failed: number): void {
  const sorted = silent.toSorted((a, b) => a - b);
  const [median, longest] = [sorted[sorted.length >> 1]!, sorted.at(-1)!];
  console.log(
    `${engine}: ${silent.length} hung; noticed after ${median} ms (median), ${longest} ms at most, with a timeout of ${TIMEOUT_MS} ms and an interval of ${INTERVAL_MS} ms; ${failed} requests failed that a worker that hung had`,
  );
}
