/** What takes its time by the options' own measure: side by side, so that the times pass together. */
import { describe } from 'vitest';
import { sideBySide } from './side-by-side';

describe.concurrent('in time', () => {
  sideBySide(
    'a new worker that fails leaves the old one alone, and the next attempt replaces it',
    async (run) => {
      run.start(['--interval=4'], { env: { COMPAT_PLAN: '2:fail' } });
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^old worker/);
      return [...(await run.finish()), ...run.signals];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker W2 seems to have failed to start, exit status:768',
      'starting new worker W3',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'old worker W1 died, status:0',
      'received TERM, sending TERM to all workers:W3',
      'worker W3 died, status:0',
      'exiting',
      'signal gen=1 TERM',
      'signal gen=3 TERM',
    ],
  );

  sideBySide(
    '--kill-old-delay keeps the old worker for a while',
    async (run) => {
      run.start(['--interval=0', '--kill-old-delay=1']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^old worker/);
      return run.finish();
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'sleeping 1 secs before killing old workers',
      'killing old workers',
      'old worker W1 died, status:0',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
    ],
  );

  sideBySide(
    'TERM inside --kill-old-delay',
    async (run) => {
      run.start(['--interval=0', '--kill-old-delay=5']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^sleeping/);
      // Whether the original hears first of the signal or of the end of its old worker is chance.
      const heard = /^received TERM|^(old )?worker W1 died/;
      return (await run.finish()).filter((line) => !run.isOriginal || !heard.test(line));
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'sleeping 5 secs before killing old workers',
      'killing old workers',
      'worker W2 died, status:0',
      'exiting',
    ],
    {
      why: 'the original hears of it when the delay is over',
      ours: [
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'received HUP, spawning a new worker',
        'starting new worker W2',
        'new worker is now running, sending TERM to old workers:W1',
        'sleeping 5 secs before killing old workers',
        'received TERM, sending TERM to all workers:W1,W2',
        'worker W1 died, status:0',
        'worker W2 died, status:0',
        'exiting',
      ],
    },
  );

  sideBySide(
    'the new worker dies inside --kill-old-delay',
    async (run) => {
      run.start(['--interval=0', '--kill-old-delay=5']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^sleeping/);
      await run.events.next(/^up gen=2/);
      run.signalWorker('W2', 'SIGKILL');
      await run.events.next(/^up gen=3/);
      await run.log.nextOrSeen(/^old worker W1/);
      return run.finish();
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'sleeping 5 secs before killing old workers',
      'killing old workers',
      'worker W2 died unexpectedly with status:9, restarting',
      'starting new worker W3',
      'old worker W1 died, status:0',
      'received TERM, sending TERM to all workers:W3',
      'worker W3 died, status:0',
      'exiting',
    ],
    {
      why: 'the original replaces it when the delay is over',
      ours: [
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'received HUP, spawning a new worker',
        'starting new worker W2',
        'new worker is now running, sending TERM to old workers:W1',
        'sleeping 5 secs before killing old workers',
        'worker W2 died unexpectedly with status:9, restarting',
        'starting new worker W3',
        'killing old workers',
        'old worker W1 died, status:0',
        'received TERM, sending TERM to all workers:W3',
        'worker W3 died, status:0',
        'exiting',
      ],
    },
  );

  sideBySide(
    '--enable-auto-restart starts a new generation every interval',
    async (run) => {
      run.start(['--interval=0', '--enable-auto-restart', '--auto-restart-interval=1', '--kill-old-delay=0']);
      await run.log.next(/^old worker W1/);
      await run.log.next(/^killing/);
      return run.log.all.slice(0, 6);
    },
    [
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'autorestart triggered (interval=1)',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
    ],
  );

  sideBySide(
    'auto-restart waits for old workers, but not for more than twice the interval',
    async (run) => {
      const args = [
        '--interval=0',
        '--enable-auto-restart',
        '--auto-restart-interval=3',
        '--kill-old-delay=0',
      ];
      run.start(args, { env: { COMPAT_PLAN: '1:stubborn' } });
      await run.log.next(/forced/);
      await run.log.next(/^killing/);
      return run.log.all.slice(0, 10);
    },
    [
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'autorestart triggered (interval=3)',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'autorestart triggered (forced, interval=3)',
      'starting new worker W3',
      'new worker is now running, sending TERM to old workers:W1,W2',
      'killing old workers',
    ],
  );

  sideBySide(
    'KILL_OLD_DELAY, ENABLE_AUTO_RESTART and AUTO_RESTART_INTERVAL stand for options',
    async (run) => {
      run.start(['--interval=0'], {
        env: {
          COMPAT_SHOW: 'ENABLE_AUTO_RESTART',
          ENABLE_AUTO_RESTART: '1',
          AUTO_RESTART_INTERVAL: '1',
          KILL_OLD_DELAY: '1',
        },
      });
      const up = await run.events.next(/^up gen=1/);
      await run.log.next(/^old worker/);
      return [up, ...run.log.all.slice(0, 7)];
    },
    [
      'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | ENABLE_AUTO_RESTART=1',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'autorestart triggered (interval=1)',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'sleeping 1 secs before killing old workers',
      'killing old workers',
    ],
  );

  sideBySide(
    'TERM while the first worker keeps failing',
    async (run) => {
      run.start(['--interval=4'], { env: { COMPAT_PLAN: '1:fail' } });
      await run.events.next(/^failed gen=1/);
      await run.events.next(/^up gen=2/);
      return run.finish();
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'new worker W1 seems to have failed to start, exit status:768',
      'starting new worker W2',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
    ],
  );

  sideBySide(
    '--dir that is not there makes every worker fail',
    async (run) => {
      run.start(['--interval=4', '--dir=missing']);
      await run.log.next(/seems to have failed/);
      await run.log.next(/^starting new worker/);
      run.signal('SIGTERM');
      await run.exit();
      return [...new Set(run.log.all)]
        .filter((line) => /^failed|^new worker W1|^starting new worker W2/.test(line))
        .sort();
    },
    [
      'failed to chdir:missing:No such file or directory',
      'new worker W1 seems to have failed to start, exit status:512',
      'starting new worker W2',
    ],
  );
  sideBySide(
    'a program that does not exist is tried again for ever',
    async (run) => {
      run.start(['--interval=4'], { program: ['./missing', 'argument'] });
      await run.log.next(/seems to have failed/);
      await run.log.next(/^starting new worker/);
      run.signal('SIGTERM');
      await run.exit();
      return run.log.all.filter((line) => /^(starting|new worker)/.test(line)).slice(0, 3);
    },
    [
      'starting new worker W1',
      'new worker W1 seems to have failed to start, exit status:65280',
      'starting new worker W2',
    ],
  );

  sideBySide(
    'a program is one word, whatever is in it',
    async (run) => {
      run.start(['--interval=4'], { program: ['echo hello'] });
      return [await run.log.next(/^new worker/)];
    },
    ['new worker W1 seems to have failed to start, exit status:65280'],
  );
});
