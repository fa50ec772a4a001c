import { describe } from 'vitest';
import { sideBySide } from './side-by-side';

describe('leaving', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    sideBySide(
      `${signal} ends the workers and then the manager`,
      async (run) => {
        run.start(['--interval=0']);
        const up = await run.events.next(/^up gen=1/);
        run.signal(signal);
        const told = await run.events.next(/^signal/);
        return [up, told, ...(await run.ending()), ...run.stdout.all];
      },
      [
        'up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR | args=',
        'signal gen=1 TERM',
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        `received ${signal.slice(3)}, sending TERM to all workers:W1`,
        'worker W1 died, status:0',
        'exiting',
        'worker 1 says hello',
      ],
    );
  }

  sideBySide(
    '--signal-on-term names what workers get after TERM',
    async (run) => {
      run.start(['--interval=0', '--signal-on-term=sigusr2']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGTERM');
      const told = await run.events.next(/^signal/);
      return [told, ...(await run.ending())];
    },
    [
      'signal gen=1 USR2',
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received TERM, sending USR2 to all workers:W1',
      'worker W1 died, status:1792',
      'exiting',
    ],
  );

  sideBySide(
    '--signal-on-term does not say what workers get after INT',
    async (run) => {
      run.start(['--interval=0', '--signal-on-term=USR2']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGINT');
      const told = await run.events.next(/^signal/);
      return [told, ...(await run.ending())];
    },
    [
      'signal gen=1 TERM',
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received INT, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
    ],
  );

  sideBySide(
    'a second TERM while a worker takes its time',
    async (run) => {
      run.start(['--interval=0'], { env: { COMPAT_PLAN: '1:stubborn' } });
      await run.events.next(/^up gen=1/);
      run.signal('SIGTERM');
      await run.events.next(/^signal/);
      run.signal('SIGTERM');
      if (!run.isOriginal) await run.events.next(/^signal/);
      run.signalWorker('W1', 'SIGKILL');
      return [...(await run.ending()), ...run.signals];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:9',
      'exiting',
      'signal gen=1 TERM',
    ],
    {
      why: 'whoever asks twice wants the workers to hear of it',
      ours: [
        'exit code=0',
        'start_server (pid:MANAGER) starting now...',
        'starting new worker W1',
        'received TERM, sending TERM to all workers:W1',
        'received TERM, sending TERM to all workers:W1',
        'worker W1 died, status:9',
        'exiting',
        'signal gen=1 TERM',
        'signal gen=1 TERM',
      ],
    },
  );

  sideBySide(
    'TERM inside the interval of the first worker',
    async (run) => {
      run.start(['--interval=30']);
      await run.events.next(/^up gen=1/);
      return run.finish();
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
    ],
  );

  sideBySide(
    'PIPE, WINCH and CHLD mean nothing',
    async (run) => {
      run.start(['--interval=0']);
      await run.events.next(/^up gen=1/);
      for (const signal of ['SIGPIPE', 'SIGWINCH', 'SIGCHLD'] as const) run.signal(signal);
      // The original passes it over too, but does not hear of a TERM that comes at the same moment.
      if (!run.isOriginal) run.signal('SIGALRM');
      return run.finish();
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
    ],
  );

  for (const signal of ['SIGQUIT', 'SIGUSR1'] as const) {
    sideBySide(
      `${signal} is not for the manager`,
      async (run) => {
        run.start(['--interval=0']);
        await run.events.next(/^up gen=1/);
        run.signal(signal);
        return run.isOriginal ? [await run.exitLine()] : run.finish();
      },
      [`exit signal=${signal}`],
      {
        why: 'the original dies of it and leaves its workers behind',
        ours: [
          'exit code=0',
          'start_server (pid:MANAGER) starting now...',
          'starting new worker W1',
          'received TERM, sending TERM to all workers:W1',
          'worker W1 died, status:0',
          'exiting',
        ],
      },
    );
  }
});
