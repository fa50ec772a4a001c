/** Where ours does better than the original, which therefore has no part in these. */
import { describe, expect, test } from 'vitest';
import { Run } from './run';
import { ours } from './side-by-side';

const FILES = ['--pid-file=pid', '--status-file=status'];

describe.each(ours())('with the $name engine', (implementation) => {
  async function running(script: (run: Run) => Promise<void>): Promise<void> {
    const run = await Run.open(implementation);
    try {
      await script(run);
    } finally {
      await run.close();
    }
  }

  test('--restart says at once that the new worker has failed, and the old one goes on', () =>
    running(async (run) => {
      run.start(['--interval=1', ...FILES], { env: { COMPAT_PLAN: '2:fail 3:fail 4:fail 5:fail' } });
      await run.fileBecomes('status', 'status: 1:W1');
      const { ended, lines } = await run.command(['--restart', ...FILES]);
      expect(ended.code).toBe(1);
      expect(lines).toEqual([
        'the new worker failed to start; generation 1 goes on, and further attempts follow',
      ]);
      expect(run.file('status')).toBe('status: 1:W1');
      run.signal('SIGTERM');
      expect(await run.exitLine()).toBe('exit code=0');
      expect(run.signals).toEqual(['signal gen=1 TERM']);
    }));

  test('--restart gives up after --restart-timeout where the old worker does not end', () =>
    running(async (run) => {
      run.start(['--interval=0', ...FILES], { env: { COMPAT_PLAN: '1:stubborn' } });
      await run.fileBecomes('status', 'status: 1:W1');
      await run.whenUp(1);
      const { ended, lines } = await run.command(['--restart', '--restart-timeout=200ms', ...FILES]);
      expect(ended.code).toBe(1);
      expect(lines.join()).toMatch(
        /^the restart was not complete after 0.2 s; in the status file: 1:W1( 2:W2)?$/,
      );
      run.signalWorker('W1', 'SIGKILL');
      await run.log.next(/^old worker W1 died/);
      await run.finish();
    }));

  test('--kill-timeout ends who does not end', () =>
    running(async (run) => {
      run.start(['--interval=0', '--kill-timeout=200ms'], { env: { COMPAT_PLAN: '1:stubborn 2:stubborn' } });
      await run.whenUp(1);
      run.signal('SIGHUP');
      await run.log.next(/^old worker W1 died/);
      await run.whenUp(2);
      run.signal('SIGTERM');
      expect(await run.ending()).toEqual([
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'received HUP, spawning a new worker',
        'starting new worker W2',
        'new worker is now running, sending TERM to old workers:W1',
        'killing old workers',
        'worker W1 did not end in time, sending KILL',
        'old worker W1 died, status:9',
        'received TERM, sending TERM to all workers:W2',
        'worker W2 did not end in time, sending KILL',
        'worker W2 died, status:9',
        'exiting',
      ]);
    }));

  test('TERM between a failure and the next attempt stops at once', () =>
    running(async (run) => {
      run.start(['--interval=30'], { env: { COMPAT_PLAN: '1:fail' } });
      await run.log.next(/^new worker W1 seems to have failed/);
      run.signal('SIGTERM');
      expect(await run.ending()).toEqual([
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'new worker W1 seems to have failed to start, exit status:768',
        'received TERM, sending TERM to all workers:',
        'exiting',
      ]);
    }));

  test('a second server waits for the pid file, and leaves it as it is until then', () =>
    running(async (run) => {
      run.start(['--interval=0', '--pid-file=pid']);
      await run.whenUp(1);
      const second = await Run.open(implementation);
      try {
        second.start(['--interval=0', `--pid-file=${run.path('pid')}`]);
        await second.log.next(/^start_server/);
        expect(run.file('pid')).toBe('pid: MANAGER');
        expect(second.events.all).toEqual([]);
        await run.finish();
        await second.whenUp(1);
        run.nameManager(second.pid);
        expect(run.file('pid')).toBe('pid: MANAGER');
        await second.finish();
        expect(run.file('pid')).toBe('pid: (absent)');
      } finally {
        await second.close();
      }
    }));

  test('keeps its pid, and its own environment out of the workers', () =>
    running(async (run) => {
      const env = {
        COMPAT_SHOW: 'PREFORK_STARTER_DAEMON PREFORK_WORKER PREFORK_CHANNEL SERVER_STARTER_GENERATION',
      };
      run.start(['--interval=0', `--port=127.0.0.1:${run.ports[0]}`], { env });
      const up = await run.events.next(/^up gen=1/);
      expect(up).toContain(
        '| PREFORK_STARTER_DAEMON=(unset) | PREFORK_WORKER=(unset) | PREFORK_CHANNEL=(unset) | SERVER_STARTER_GENERATION=1',
      );
      expect(await run.finish()).toContain('start_server (pid:MANAGER) starting now...');
    }));
});
