/** What a manager costs while nothing happens. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { engines, fixture, Service } from '../helpers/service';

/** The time is what is tested: so long nothing happens. */
const IDLE_S = 30;
const MAX_WAKES = IDLE_S;
const MAX_MORE_BYTES = 20 * 1024 * 1024;

const hasStrace = spawnSync('strace', ['-V'], { stdio: 'ignore' }).status === 0;

describe.each(engines)('an idle manager, %s engine', (engine) => {
  let service: Service | undefined;
  let idle: ChildProcess | undefined;
  afterEach(async () => {
    idle?.kill('SIGKILL');
    await service?.dispose();
    service = undefined;
  });

  it.skipIf(!hasStrace)('is woken at most once a second', { timeout: (IDLE_S + 30) * 1000 }, async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    await service.serving();
    const args = [
      'strace',
      '-qq',
      '-f',
      '-e',
      'trace=epoll_wait,epoll_pwait,epoll_pwait2,futex,read',
      '-p',
      String(service.pid),
    ];
    const tracer = spawn('timeout', ['--signal=INT', String(IDLE_S), ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let trace = '';
    tracer.stderr.setEncoding('utf8').on('data', (text: string) => {
      trace += text;
    });
    await once(tracer, 'close');
    // A wait that may block and has ended is a wake; those with a timeout of 0 only look.
    const wakes = trace
      .split('\n')
      .filter((line) => /epoll_p?wait2?\(.*, (?:-1|[1-9]\d*), NULL.*= \d+$/.test(line));
    expect(wakes.length, trace).toBeLessThanOrEqual(MAX_WAKES);
    expect((await service.stop()).code).toBe(0);
  });

  it('needs little more memory than an idle process', async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    await service.serving();
    idle = spawn(process.execPath, ['-e', "setInterval(() => {}, 1e9); console.log('up')"]);
    await once(idle.stdout!, 'data');
    const more = residentBytes(service.pid) - residentBytes(idle.pid!);
    expect(more).toBeLessThan(MAX_MORE_BYTES);
    expect((await service.stop()).code).toBe(0);
  });
});

function residentBytes(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}
