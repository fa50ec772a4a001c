import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Failure, StrictClient } from '../helpers/strict-client';
import { TestManager, type TestWorker } from '../helpers/worker-harness';

const FIXTURES = join(__dirname, '../fixtures');
const CERT = join(FIXTURES, 'worker-cert.pem');
const TLS_ENV = { TEST_KEY: join(FIXTURES, 'worker-key.pem'), TEST_CERT: CERT };
/** Workers that leave, one after the other. */
const ROUNDS = { http: 20, https: 10, http2: 10, h2c: 10 };

/** Two workers on one listener; one after the other is told to leave while the strict client goes on. */
async function drainRounds(engine: 'native' | 'js', protocol: keyof typeof ROUNDS) {
  const rounds = ROUNDS[protocol];
  const manager = new TestManager(engine);
  const failures: Failure[] = [];
  try {
    const listener = manager.listen();
    const start = async (): Promise<TestWorker> => {
      const options = { protocol, listen: [listener.boundPort], body: 3000 };
      const worker = manager.spawn({
        entry: 'worker-server.js',
        args: [JSON.stringify(options)],
        listeners: [listener],
        env: TLS_ENV,
      });
      await worker.message('listening');
      return worker;
    };
    const workers = [await start(), await start()];
    const target = { protocol, port: listener.boundPort, caFile: CERT };
    const busy = new StrictClient({ ...target, keepAlive: 8, oneShot: 4 }).start();
    const thinking = new StrictClient({ ...target, keepAlive: 8, oneShot: 0, thinkMs: 20 }).start();
    for (let round = 0; round < rounds; round++) {
      await busy.answered(50);
      const leaving = workers.shift() as TestWorker;
      leaving.signal('SIGTERM');
      workers.push(await start());
      expect(await leaving.exited).toEqual({ code: 0, signal: null });
    }
    await busy.answered(50);
    const reports = [await busy.stop(), await thinking.stop()];
    for (const report of reports) failures.push(...report.failures);
    expect(reports.every(({ requests }) => requests > rounds)).toBe(true);
  } finally {
    await manager.close();
  }
  expect(failures).toEqual([]);
}

for (const engine of ['native', 'js'] as const) {
  for (const protocol of ['http', 'https', 'http2', 'h2c'] as const) {
    test(
      `${ROUNDS[protocol]} workers leave under ${protocol} load, ${engine}: no request fails`,
      () => drainRounds(engine, protocol),
      300_000,
    );
  }
}
