/** What a manager costs while nothing happens. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it, type TestContext } from 'vitest';
import { engines, fixture, Service } from '../helpers/service';

/** The time is what is tested: so long nothing happens. */
const IDLE_S = 30;
const MAX_WAKES = IDLE_S;
const MAX_MORE_BYTES = 20 * 1024 * 1024;

const hasStrace = spawnSync('strace', ['-V'], { stdio: 'ignore' }).status === 0;

describe.concurrent.each(engines)('an idle manager, %s engine', (engine) => {
  async function start(context: TestContext): Promise<Service> {
    const service = Service.start(['-w', '2', '-b', '127.0.0.1:0', fixture('server.js')], { engine });
    context.onTestFinished(() => service.dispose());
    await service.serving();
    return service;
  }

  it.skipIf(!hasStrace)(
    'is woken at most once a second',
    {
      timeout: (IDLE_S + 30) * 1000,
    },
    async (context) => {
      const service = await start(context);
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
    },
  );

  it('needs little more memory than an idle process', async (context) => {
    const service = await start(context);
    const idle = spawn(process.execPath, ['-e', "setInterval(() => {}, 1e9); console.log('up')"]);
    context.onTestFinished(() => void idle.kill('SIGKILL'));
    await once(idle.stdout, 'data');
    const more = residentBytes(service.pid) - residentBytes(idle.pid!);
    expect(more).toBeLessThan(MAX_MORE_BYTES);
    expect((await service.stop()).code).toBe(0);
  });
});

function residentBytes(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}
