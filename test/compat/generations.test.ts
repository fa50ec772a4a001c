import { describe } from 'vitest';
import { sideBySide } from './side-by-side';

describe('a new generation', () => {
  sideBySide(
    'HUP starts the next worker and then tells the old one to stop',
    async (run) => {
      run.start(['--interval=0']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      const told = await run.events.next(/^signal gen=1/);
      await run.log.next(/^old worker/);
      // It may have told of itself before the old one did.
      const up = await run.events.nextOrSeen(/^up gen=2/);
      return [told, up, ...(await run.finish())];
    },
    [
      'signal gen=1 TERM',
      'up gen=2 | pid=W2 | ports= | sockets= | cwd=DIR | args=',
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'old worker W1 died, status:0',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
    ],
  );

  sideBySide(
    '--signal-on-hup names what old workers get',
    async (run) => {
      run.start(['--interval=0', '--signal-on-hup=USR1']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^old worker/);
      await run.events.next(/^up gen=2/);
      return [...(await run.finish()), ...run.signals];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending USR1 to old workers:W1',
      'killing old workers',
      'old worker W1 died, status:1792',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
      'signal gen=1 USR1',
      'signal gen=2 TERM',
    ],
  );

  sideBySide(
    'HUP inside the interval of the first worker',
    async (run) => {
      run.start(['--interval=30']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.events.next(/^up gen=2/);
      return [...(await run.finish()), ...run.signals];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'received TERM, sending TERM to all workers:W1,W2',
      'worker W1 died, status:0',
      'worker W2 died, status:0',
      'exiting',
      'signal gen=1 TERM',
      'signal gen=2 TERM',
    ],
    {
      why: 'in the original every signal ends the interval: a second HUP would trust a worker that has not proved itself',
      ours: [
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'received HUP, spawning a new worker',
        'starting new worker W2',
        'received TERM, sending TERM to all workers:W1,W2',
        'worker W1 died, status:0',
        'worker W2 died, status:0',
        'exiting',
        'signal gen=1 TERM',
        'signal gen=2 TERM',
      ],
    },
  );

  sideBySide(
    'old workers that stay are told again at each HUP, and at the stop',
    async (run) => {
      run.start(['--interval=0'], { env: { COMPAT_PLAN: '1:stubborn 2:stubborn' } });
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.events.next(/^signal gen=1/);
      await run.whenUp(2);
      run.signal('SIGHUP');
      await run.whenUp(3);
      await run.whenSignals(3);
      run.signalWorker('W1', 'SIGKILL');
      await run.log.next(/^old worker W1 died/);
      run.signal('SIGTERM');
      await run.log.next(/^worker W3 died/);
      await run.whenSignals(5);
      run.signalWorker('W2', 'SIGKILL');
      return [...(await run.ending()), ...run.signals];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'received HUP, spawning a new worker',
      'starting new worker W3',
      'new worker is now running, sending TERM to old workers:W1,W2',
      'killing old workers',
      'old worker W1 died, status:9',
      'received TERM, sending TERM to all workers:W2,W3',
      'worker W2 died, status:9',
      'worker W3 died, status:0',
      'exiting',
      'signal gen=1 TERM',
      'signal gen=1 TERM',
      'signal gen=2 TERM',
      'signal gen=2 TERM',
      'signal gen=3 TERM',
    ],
  );

  sideBySide(
    'a worker that dies is started again',
    async (run) => {
      run.start(['--interval=0']);
      await run.events.next(/^up gen=1/);
      run.signalWorker('W1', 'SIGKILL');
      const up = await run.events.next(/^up gen=2/);
      return [up, ...(await run.finish())];
    },
    [
      'up gen=2 | pid=W2 | ports= | sockets= | cwd=DIR | args=',
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'worker W1 died unexpectedly with status:9, restarting',
      'starting new worker W2',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
    ],
  );
});

describe('variables', () => {
  sideBySide(
    'options are variables of the worker, and go before those of the manager',
    async (run) => {
      run.start(['--interval=0', '--kill-old-delay=3', '--auto-restart-interval=900', '--envdir=vars'], {
        env: {
          COMPAT_SHOW: 'KILL_OLD_DELAY AUTO_RESTART_INTERVAL ENVDIR ENABLE_AUTO_RESTART KEPT',
          KILL_OLD_DELAY: '70',
          ENVDIR: 'elsewhere',
          KEPT: 'kept',
        },
      });
      const up = await run.events.next(/^up gen=1/);
      await run.finish();
      return [up];
    },
    [
      'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | KILL_OLD_DELAY=3 | AUTO_RESTART_INTERVAL=900 | ENVDIR=vars | ENABLE_AUTO_RESTART=(unset) | KEPT=kept',
    ],
  );

  sideBySide(
    '--envdir is read for every worker; a file that came and went leaves nothing behind',
    async (run) => {
      run.write('vars/FIRST', 'one\ntwo\n');
      run.write('vars/BARE', 'no end of line');
      run.write('vars/SPACES', '  around \t\n');
      run.write('vars/.HIDDEN', 'hidden\n');
      const env = { COMPAT_SHOW: 'FIRST BARE SPACES LATER HIDDEN', FIRST: 'before', BARE: 'before' };
      run.start(['--interval=0', '--envdir=vars'], { env });
      const before = await run.events.next(/^up gen=1/);
      run.write('vars/FIRST', 'new\n');
      run.write('vars/LATER', 'come\n');
      run.signal('SIGHUP');
      const after = await run.events.next(/^up gen=2/);
      run.remove('vars/LATER');
      run.signal('SIGHUP');
      const gone = await run.events.next(/^up gen=3/);
      await run.finish();
      return [before, after, gone];
    },
    [
      'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | FIRST=one | BARE=no end of line | SPACES=  around \t | LATER=(unset) | HIDDEN=(unset)',
      'up gen=2 | pid=W2 | ports= | sockets= | cwd=DIR | args= | FIRST=new | BARE=no end of line | SPACES=  around \t | LATER=come | HIDDEN=(unset)',
      'up gen=3 | pid=W3 | ports= | sockets= | cwd=DIR | args= | FIRST=new | BARE=no end of line | SPACES=  around \t | LATER=(unset) | HIDDEN=(unset)',
    ],
  );

  sideBySide(
    '--envdir: the file of a variable goes that was there from the start',
    async (run) => {
      run.write('vars/FIRST', 'one\n');
      run.write('vars/EMPTY', '');
      const env = { COMPAT_SHOW: 'FIRST EMPTY', FIRST: 'before', EMPTY: 'before' };
      run.start(['--interval=0', '--envdir=vars'], { env });
      const before = await run.events.next(/^up gen=1/);
      run.remove('vars/FIRST');
      run.signal('SIGHUP');
      const after = await run.events.next(/^up gen=2/);
      await run.finish();
      return [before, after];
    },
    [
      'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | FIRST=one | EMPTY=before',
      'up gen=2 | pid=W2 | ports= | sockets= | cwd=DIR | args= | FIRST=one | EMPTY=before',
    ],
    {
      why: 'what the directory held at the start has become the own environment of the original',
      ours: [
        'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | FIRST=one | EMPTY=before',
        'up gen=2 | pid=W2 | ports= | sockets= | cwd=DIR | args= | FIRST=before | EMPTY=before',
      ],
    },
  );

  sideBySide(
    'ENVDIR stands for --envdir, and what it holds for options',
    async (run) => {
      run.write('vars/KILL_OLD_DELAY', '1\n');
      run.start(['--interval=0'], { env: { ENVDIR: 'vars', COMPAT_SHOW: 'KILL_OLD_DELAY' } });
      const up = await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.log.next(/^old worker/);
      return [up, ...run.log.all];
    },
    [
      'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args= | KILL_OLD_DELAY=1',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'sleeping 1 secs before killing old workers',
      'killing old workers',
      'old worker W1 died, status:0',
    ],
  );
});
