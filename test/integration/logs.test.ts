/** What workers print: whole lines, each once and in order, with which worker it is from; and a log file that is renamed. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { lineIn } from '../helpers/log-file';
import { type EngineName, engines, fixture, root, Service } from '../helpers/service';

const isNative = loadBinding().binding !== null;
const PRINTER = fixture('printer.js');
const LOGROTATE = ['/usr/sbin/logrotate', '/sbin/logrotate', '/usr/bin/logrotate'].find(existsSync);
const MINUTES_MS = 180_000;

let directory: string;
let service: Service;
let log: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-logs-'));
  log = join(directory, 'log');
});
afterEach(async () => {
  await service.dispose();
  rmSync(directory, { recursive: true });
});

const TAGGED =
  /^\{"time":"[^"]+","slot":(\d),"pid":\d+,"generation":1,"stream":"stdout","msg":"<(\d+) (é*)>"\}$/;

/** Every line of every worker whole, once, in order. */
function expectAll(text: string, workers: number, lines: number): void {
  const next = new Map<string, number>();
  for (const line of text.split('\n')) {
    const found = TAGGED.exec(line);
    if (!found) {
      // The manager's own lines are whole, too.
      if (line !== '') expect(JSON.parse(line)).toHaveProperty('level');
      continue;
    }
    const [, slot = '', number = '', payload = ''] = found;
    const i = next.get(slot) ?? 0;
    if (i !== Number(number) || payload.length !== i % 60) throw new Error(`slot ${slot}: ${i} is ${line}`);
    next.set(slot, i + 1);
  }
  expect([...next.values()]).toEqual(Array.from({ length: workers }, () => lines));
}

const start = (engine: EngineName, args: readonly string[]): Service =>
  Service.start(['--tag-output', '--ready', 'message', ...args], { engine });

/** Renames the log to log.1, three times. Each worker then prints into the new one, and nothing comes to the old one any more. */
async function rotates(
  pids: readonly number[],
  rotate: () => void,
  prints = ['out', 'error', 'written'],
): Promise<void> {
  for (let round = 1; round <= 3; round++) {
    rotate();
    for (const pid of pids) await lineIn(log, `"msg":"${pid} reopened ${round}"`);
    const { size } = statSync(`${log}.1`);
    for (const pid of pids) process.kill(pid, 'SIGUSR2');
    for (const pid of pids) {
      for (const text of prints) {
        expect(JSON.parse(await lineIn(log, `"msg":"${pid} ${text} ${round}"`))).toMatchObject({ pid });
      }
    }
    if (prints.includes('written')) expect(statSync(`${log}.1`).size).toBe(size);
  }
}

describe.each(engines)('%s engine', (engine) => {
  it.skipIf(engine === 'native' && !isNative)(
    'keeps 4 workers × 50,000 lines to a file whole, once and in order',
    { timeout: MINUTES_MS },
    async () => {
      service = start(engine, ['-w', '4', '--log-file', log, PRINTER, '50000']);
      await lineIn(log, '"event":"serving"');
      expect((await service.stop()).code).toBe(0);
      expectAll(readFileSync(log, 'utf8'), 4, 50_000);
    },
  );

  it.skipIf(engine === 'native' && !isNative)(
    'keeps 4 workers × 20,000 lines whole in a pipe that they share',
    { timeout: MINUTES_MS },
    async () => {
      service = start(engine, ['-w', '4', PRINTER, '20000']);
      await service.serving();
      expect((await service.stop()).code).toBe(0);
      expectAll(service.output, 4, 20_000);
    },
  );

  it.skipIf(engine === 'native' && !isNative)(
    'goes on in a new file after USR1, workers too',
    { timeout: MINUTES_MS },
    async () => {
      service = start(engine, ['-w', '2', '--log-file', log, PRINTER]);
      const { pids } = JSON.parse(await lineIn(log, '"event":"serving"')) as { pids: number[] };
      await rotates(pids, () => {
        renameSync(log, `${log}.1`);
        service.signal('SIGUSR1');
      });
      expect((await service.stop()).code).toBe(0);
    },
  );

  it.skipIf((engine === 'native' && !isNative) || !LOGROTATE)(
    'goes on in a new file after logrotate (where it is installed)',
    { timeout: MINUTES_MS },
    async () => {
      const pidFile = join(directory, 'pid');
      const config = join(directory, 'logrotate.conf');
      const example = readFileSync(join(root, 'examples', 'deploy', 'logrotate.conf'), 'utf8');
      writeFileSync(
        config,
        example.replaceAll('/var/log/app/app.log', log).replaceAll('/run/app/app.pid', pidFile),
      );
      chmodSync(config, 0o644);
      service = start(engine, ['-w', '2', '--log-file', log, '--pid-file', pidFile, PRINTER]);
      const { pids } = JSON.parse(await lineIn(log, '"event":"serving"')) as { pids: number[] };
      await rotates(pids, () =>
        execFileSync(LOGROTATE!, ['-f', '-s', join(directory, 'state'), config], { stdio: 'pipe' }),
      );
      expect((await service.stop()).code).toBe(0);
    },
  );
});

describe.skipIf(!isNative)('without the addon in the workers', () => {
  it('console and streams go on in the new file, for want of dup2', { timeout: MINUTES_MS }, async () => {
    service = Service.start(['--tag-output', '--ready', 'message', '-w', '1', '--log-file', log, PRINTER], {
      env: { PREFORK_ENGINE: 'js' },
    });
    const { pids } = JSON.parse(await lineIn(log, '"event":"serving"')) as { pids: number[] };
    await rotates(pids, () => {
      renameSync(log, `${log}.1`);
      service.signal('SIGUSR1');
    }, ['out', 'error']);
    expect((await service.stop()).code).toBe(0);
  });
});

describe.skipIf(!isNative)('with --preload', () => {
  it('lines are of the process that printed them', { timeout: MINUTES_MS }, async () => {
    const args = ['--tag-output', '--preload', '--ready', 'start', '--interval', '0.1', '-w', '2', PRINTER];
    service = Service.start(['--log-file', log, ...args, '2'], { engine: 'native' });
    const { pids } = JSON.parse(await lineIn(log, '"event":"serving"')) as { pids: number[] };
    expect(JSON.parse(await lineIn(log, '"msg":"<1 '))).toMatchObject({ slot: null, generation: 1 });
    for (const [slot, pid] of pids.entries()) {
      process.kill(pid, 'SIGUSR2');
      expect(JSON.parse(await lineIn(log, `"msg":"${pid} written 1"`))).toMatchObject({ pid, slot });
    }
    expect((await service.stop()).code).toBe(0);
  });
});
