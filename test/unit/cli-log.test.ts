/** The log: lines reach their destination before the call returns, and a destination that takes none harms nobody. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogSink } from '../../src/manager/log-sink';

const LOG_MODULE = resolve(__dirname, '../../dist/manager/log.js');
const { createLog } = createRequire(__filename)(LOG_MODULE) as typeof import('../../src/manager/log');

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-log-'));
  file = join(directory, 'log');
});
afterEach(() => rmSync(directory, { recursive: true }));

const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);

describe('the log', () => {
  it('is JSON for machines, a line an event', () => {
    const log = createLog({ format: 'json', level: 'info', destination: file });
    log.info({ slot: 0, workerId: 7, pid: 4711, generation: 2 }, 'worker ready');
    log.debug({}, 'not said');
    log.error({ err: new Error('spawn failed') }, 'two\nlines');
    expect(lines().map((line) => JSON.parse(line))).toEqual([
      {
        level: 'info',
        time: expect.any(String),
        slot: 0,
        workerId: 7,
        pid: 4711,
        generation: 2,
        msg: 'worker ready',
      },
      {
        level: 'error',
        time: expect.any(String),
        err: expect.objectContaining({ message: 'spawn failed' }),
        msg: 'two\nlines',
      },
    ]);
    expect(new Date(JSON.parse(lines()[0]!).time).getTime()).toBeGreaterThan(Date.now() - 60_000);
  });

  it('is pretty for people, without colours in a file', () => {
    const log = createLog({ format: 'pretty', level: 'debug', destination: file });
    log.info({ slot: 0, pid: 4711, signal: 'SIGTERM' }, 'worker ready');
    log.warn({ event: 'worker-ready', slot: 0 }, 'worker 4711 is ready in slot 0');
    log.error({ err: new Error('it is\nbad') }, 'worker failed');
    log.trace({}, 'not said');
    expect(lines()).toEqual([
      expect.stringMatching(
        /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: worker ready {2}slot=0 pid=4711 signal=SIGTERM$/,
      ),
      expect.stringMatching(/^\[.*\] WARN: worker 4711 is ready in slot 0$/),
      expect.stringMatching(/^\[.*\] ERROR: worker failed {2}err="it is\\nbad"$/),
    ]);
  });

  it.each(['json', 'pretty'])('%s is complete when the process is killed after the call', (format) => {
    const program = `
      const log = require(${JSON.stringify(LOG_MODULE)}).createLog({ format: '${format}', level: 'info', destination: 2 });
      for (let n = 0; n < 1000; n++) log.info({ n }, 'line');
      process.kill(process.pid, 'SIGKILL');`;
    const { stderr, signal } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    expect(signal).toBe('SIGKILL');
    expect(stderr.split('\n')).toHaveLength(1001);
    expect(stderr).toContain('999');
  });

  it('goes on in a new file when the old one was moved away', () => {
    const log = createLog({ format: 'json', level: 'info', destination: file });
    log.info({}, 'before');
    renameSync(file, `${file}.1`);
    log.info({}, 'between');
    log.reopen();
    log.info({}, 'after');
    expect(lines().map((line) => JSON.parse(line).msg)).toEqual(['after']);
    expect(readFileSync(`${file}.1`, 'utf8')).toMatch(/before.*\n.*between/);
    expect(readFileSync(`/proc/self/fd/${log.fd}`, 'utf8')).toContain('after');
  });

  it('keeps the old file, and says so, when it cannot be opened again', () => {
    const log = createLog({ format: 'json', level: 'info', destination: file });
    const moved = `${directory}-moved`;
    renameSync(directory, moved);
    try {
      log.reopen();
      log.info({}, 'after');
      expect(readFileSync(join(moved, 'log'), 'utf8')).toMatch(/cannot reopen the log file.*\n.*after/);
    } finally {
      renameSync(moved, directory);
    }
  });

  it('on a descriptor has nothing to reopen', () => {
    const fd = openSync(file, 'a');
    const log = createLog({ format: 'json', level: 'info', destination: fd });
    log.reopen();
    log.info({}, 'x');
    expect(log.fd).toBe(fd);
    expect(lines()).toHaveLength(1);
    closeSync(fd);
  });

  it('refuses a file that cannot be opened', () => {
    expect(() => createLog({ format: 'json', level: 'info', destination: directory })).toThrow(
      expect.objectContaining({
        code: 'ERR_PREFORK_PATH',
        message: `--log-file: ${directory}: is a directory (EISDIR)`,
      }),
    );
  });
});

describe('a destination that takes no lines', () => {
  it('is no end of the process: a full disk', () => {
    const fd = openSync('/dev/full', 'w');
    const log = createLog({ format: 'json', level: 'info', destination: fd });
    for (let n = 0; n < 20_000; n++) {
      log.info({ n }, 'x'.repeat(100));
    }
    closeSync(fd);
  });

  it('is no end of the process: a reader that left', async () => {
    const program = `
      process.stdin.once('data', () => {
        const log = require(${JSON.stringify(LOG_MODULE)}).createLog({ format: 'json', level: 'info', destination: 2 });
        for (let n = 0; n < 100; n++) log.info({ n }, 'line');
        process.exit(7);
      });`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'ignore', 'pipe'] });
    child.stderr.destroy();
    await once(child.stderr, 'close');
    child.stdin.end('go');
    expect(await once(child, 'exit')).toEqual([7, null]);
  });

  it('holds them up a little, gets them in order later, and the number of those that were lost', () => {
    const fifo = join(directory, 'fifo');
    spawnSync('mkfifo', [fifo]);
    const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const sink = new LogSink(fd);
    const text = (n: number): string => `${String(n).padStart(999)}\n`;
    const started = performance.now();
    for (let n = 0; n < 2000; n++) {
      sink.write(text(n));
    }
    expect(performance.now() - started).toBeLessThan(5000);
    expect(sink.takeLost()).toBe(0);

    let received = '';
    const drain = (): void => {
      const buffer = Buffer.alloc(65_536);
      for (;;) {
        try {
          received += buffer.toString('utf8', 0, readSync(fd, buffer));
        } catch {
          return;
        }
      }
    };
    const last = 'last\n';
    for (let tries = 0; !received.endsWith(last) && tries < 100; tries++) {
      drain();
      sink.write(last);
    }
    const got = received.split('\n').map((line) => line.trim());
    const kept = got.indexOf('last');
    expect(got.slice(0, kept)).toEqual(Array.from({ length: kept }, (_, n) => String(n)));
    const lost = sink.takeLost();
    expect(lost).toBeGreaterThan(0);
    expect(kept + lost).toBeGreaterThanOrEqual(2000);
    expect(sink.takeLost()).toBe(0);
    closeSync(fd);
  });
});
