/** Restarts lose no request of a client that forgives nothing. */
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StrictClient } from '../helpers/strict-client';
import { Run } from './run';
import { ours } from './side-by-side';

const RESTARTS = 20;
const FILES = ['--pid-file=pid', '--status-file=status'];

describe.each(ours())('under load, with the $name engine', (implementation) => {
  test(`${RESTARTS} restarts fail no request`, { timeout: 240_000 }, async () => {
    const run = await Run.open(implementation);
    const port = run.ports[0] as number;
    const program = [process.execPath, resolve(__dirname, 'programs', 'draining.cjs')];
    run.start(['--interval=0', `--port=127.0.0.1:${port}`, '--path=socket', ...FILES], { program });
    await run.fileBecomes('status', 'status: 1:W1');
    const clients = [
      new StrictClient({ protocol: 'http', port, keepAlive: 6, oneShot: 3 }).start(),
      new StrictClient({
        protocol: 'http',
        socketPath: run.path('socket'),
        keepAlive: 2,
        oneShot: 1,
      }).start(),
    ];
    try {
      for (let round = 1; round <= RESTARTS; round++) {
        await Promise.all(clients.map((client) => client.answered(20)));
        const { ended, lines } = await run.command(['--restart', ...FILES]);
        expect({ code: ended.code, lines }).toEqual({ code: 0, lines: [] });
        await run.fileBecomes('status', `status: ${round + 1}:W${round + 1}`);
      }
      await Promise.all(clients.map((client) => client.answered(20)));
      const reports = await Promise.all(clients.map((client) => client.stop()));
      expect(reports.flatMap(({ failures }) => failures)).toEqual([]);
      run.signal('SIGTERM');
      expect(await run.exitLine()).toBe('exit code=0');
    } finally {
      await run.close();
      await Promise.all(clients.map((client) => client.stop()));
    }
    const unclean = run.log.all.filter((line) => /died/.test(line) && !line.endsWith('status:0'));
    expect(unclean).toEqual([]);
  });
});
