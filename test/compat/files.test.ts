import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { describe } from 'vitest';
import type { Run } from './run';
import { sideBySide } from './side-by-side';

/** Whether somebody holds flock(2) on it. */
function isLocked(path: string): boolean {
  return spawnSync('flock', ['-n', path, 'true']).status === 1;
}

/** A log of several writers: what the workers said comes after all that the manager did, each in its order. */
function workersLast(lines: readonly string[]): string[] {
  const isWorkers = (line: string) => line.endsWith('says hello');
  return [...lines.filter((line) => !isWorkers(line)), ...lines.filter(isWorkers)];
}

describe('--pid-file', () => {
  sideBySide(
    'has the pid, is locked as long as the manager lives, and goes at the end',
    async (run) => {
      writeFileSync(run.path('pid'), 'something much longer than a process id\n');
      run.start(['--interval=0', '--pid-file=pid']);
      await run.events.next(/^up gen=1/);
      const held = run.file('pid');
      const locked = `locked ${isLocked(run.path('pid'))}`;
      const rest = await run.finish();
      return [held, locked, rest[0] as string, run.file('pid')];
    },
    ['pid: MANAGER', 'locked true', 'exit code=0', 'pid: (absent)'],
    {
      why: 'there is no flock without the addon',
      js: ['pid: MANAGER', 'locked false', 'exit code=0', 'pid: (absent)'],
    },
  );

  sideBySide(
    'that cannot be made',
    async (run) => {
      run.start(['--interval=0', '--pid-file=missing/pid', '--path=socket']);
      return [...(await run.ending()), run.file('socket')];
    },
    [
      'exit code=2',
      'start_server (pid:MANAGER) starting now...',
      'failed to open file:missing/pid: No such file or directory',
      'socket: (absent)',
    ],
  );
});

describe('--status-file', () => {
  sideBySide(
    'follows the workers that have proved themselves, and goes at the end',
    async (run) => {
      writeFileSync(run.path('status'), 'left behind\n');
      run.start(['--interval=0', '--status-file=status'], { env: { COMPAT_PLAN: '1:stubborn' } });
      await run.fileBecomes('status', 'status: 1:W1');
      await run.events.next(/^up gen=1/);
      run.signal('SIGHUP');
      await run.fileBecomes('status', 'status: 1:W1 2:W2');
      await run.events.next(/^signal gen=1/);
      run.signalWorker('W1', 'SIGKILL');
      await run.fileBecomes('status', 'status: 2:W2');
      const rest = await run.finish();
      return [rest[0] as string, run.file('status')];
    },
    ['exit code=0', 'status: (absent)'],
  );

  sideBySide(
    'is not there before the interval of the first worker is over',
    async (run) => {
      run.start(['--interval=30', '--status-file=status']);
      await run.events.next(/^up gen=1/);
      const before = run.file('status');
      const rest = await run.finish();
      return [before, rest[0] as string];
    },
    ['status: (absent)', 'exit code=0'],
  );

  sideBySide(
    'that cannot be made',
    async (run) => {
      run.start(['--interval=0', '--status-file=missing/status']);
      const [exit, ...lines] = await run.ending();
      const problem = lines.filter((line) => line.startsWith('failed'));
      return [exit as string, ...problem.map((line) => line.replace(`status.${run.pid}`, 'status.MANAGER'))];
    },
    ['exit code=2', 'failed to create temporary file:missing/status.MANAGER:No such file or directory'],
  );

  sideBySide(
    'is sorted as text',
    async (run) => {
      run.start(['--interval=0', '--status-file=status'], { env: { COMPAT_PLAN: '9:stubborn' } });
      for (let generation = 1; generation < 9; generation++) {
        await run.whenUp(generation);
        run.signalWorker(`W${generation}`, 'SIGKILL');
      }
      await run.whenUp(9);
      run.signal('SIGHUP');
      await run.fileBecomes('status', 'status: 10:W10 9:W9');
      run.signalWorker('W9', 'SIGKILL');
      await run.fileBecomes('status', 'status: 10:W10');
      return [(await run.finish())[0] as string];
    },
    ['exit code=0'],
  );
});

describe('--dir', () => {
  sideBySide(
    'is the working directory of the worker only',
    async (run) => {
      mkdirSync(run.path('inner'));
      run.start(['--interval=0', '--dir=inner', '--pid-file=pid']);
      const up = await run.events.next(/^up gen=1/);
      const cwd = run.normalise(`manager in ${readlinkSync(`/proc/${run.pid}/cwd`)}`);
      await run.finish();
      return [up, cwd];
    },
    ['up gen=1 | pid=W1 | ports= | sockets= | cwd=DIR/inner | args=', 'manager in DIR'],
  );
});

describe('a program', () => {
  sideBySide(
    'without #! is run by the shell',
    async (run) => {
      run.write(
        'script',
        `echo "started with $*" >>"$COMPAT_EVENTS"; exec sh "$COMPAT_WORKER" "$@"\n`,
        0o755,
      );
      run.start(['--interval=0'], { program: ['./script', 'one', 'two'] });
      const started = await run.events.next(/^started/);
      await run.finish();
      return [started];
    },
    ['started with one two'],
  );
});

describe('--log-file', () => {
  sideBySide(
    'is appended to by manager and workers; what goes wrong before is told the terminal',
    async (run) => {
      writeFileSync(run.path('log'), 'before\n');
      run.start(['--interval=0', '--log-file=log', `--port=127.0.0.1:${run.ports[0]}=9`]);
      await run.events.next(/^up gen=1/);
      run.signal('SIGTERM');
      const exit = await run.exitLine();
      const lines = readFileSync(run.path('log'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => run.normalise(line));
      return [exit, ...run.log.all, ...run.stdout.all, '--', ...workersLast(lines)];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'socket is duplicated to file descriptor 9',
      '--',
      'before',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
      'worker 1 says hello',
    ],
  );

  sideBySide(
    'that begins with a bar is a command',
    async (run) => {
      run.start(['--interval=0', '--log-file=| sed "s/^/logged: /" >>log; echo over >>log']);
      await run.events.next(/^up gen=1/);
      run.signal('SIGTERM');
      const exit = await run.exitLine();
      await run.fileBecomes('log', /over$/);
      const lines = readFileSync(run.path('log'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => run.normaliseLogged(line));
      return [exit, ...run.log.all, '--', ...workersLast(lines)];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      '--',
      'logged: starting new worker W1',
      'logged: received TERM, sending TERM to all workers:W1',
      'logged: worker W1 died, status:0',
      'logged: exiting',
      'over',
      'logged: worker 1 says hello',
    ],
  );

  sideBySide(
    'that cannot be opened',
    async (run) => {
      run.start(['--interval=0', '--log-file=missing/log']);
      const file = await run.ending();
      const command = await run.command(['--log-file=| /missing/command', '--', 'true']);
      return [
        ...file,
        `exit code=${command.ended.code}`,
        ...command.lines.filter((line) => line.startsWith('failed')),
      ];
    },
    [
      'exit code=2',
      'failed to open log file:missing/log: No such file or directory',
      'exit code=2',
      'failed to open pipe:| /missing/command: No such file or directory',
    ],
  );
});

describe('--daemonize', () => {
  sideBySide(
    'leaves a daemon behind, which --restart and --stop reach',
    async (run) => {
      const daemon = ['--pid-file=pid', '--status-file=status'];
      run.start([
        '--interval=0',
        ...daemon,
        '--daemonize',
        '--log-file=log',
        '--path=socket',
        `--port=${run.ports[0]}`,
      ]);
      const exit = await run.exitLine();
      const up = await run.events.next(/^up gen=1/);
      await run.fileBecomes('status', /^status: 1:W1$/);
      run.nameManager(Number(readFileSync(run.path('pid'), 'utf8')));
      const facts = [exit, up, run.file('pid'), ...daemonFacts(run)];
      const restart = await run.command(['--restart', ...daemon]);
      await run.whenUp(2);
      const status = run.file('status');
      const stop = await run.command(['--stop', ...daemon]);
      const left = ['pid', 'status', 'socket'].map((name) => run.file(name));
      const log = readFileSync(run.path('log'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => run.normalise(line));
      return [
        ...facts,
        `--restart exit code=${restart.ended.code}`,
        ...restart.lines,
        status,
        `--stop exit code=${stop.ended.code}`,
        ...stop.lines,
        ...left,
        ...run.log.all.map((line) => line.replace(/\d+/, 'STARTER')),
        '--',
        ...workersLast(log),
      ];
    },
    [
      'exit code=0',
      'up gen=1 | pid=W1 | ports=PORT1=F1;socket=F2 | sockets=F1,F2 | cwd=DIR | args=',
      'pid: MANAGER',
      'leads its session false',
      'own group true',
      'tty 0',
      'stdio /dev/null DIR/log DIR/log',
      '--restart exit code=0',
      'status: 2:W2',
      '--stop exit code=0',
      'stop_server (pid:COMMAND) stopping now (pid:MANAGER)...',
      'pid: (absent)',
      'status: (absent)',
      'socket: (absent)',
      'start_server (pid:MANAGER) starting now...',
      '--',
      'starting new worker W1',
      'received HUP, spawning a new worker',
      'starting new worker W2',
      'new worker is now running, sending TERM to old workers:W1',
      'killing old workers',
      'old worker W1 died, status:0',
      'received TERM, sending TERM to all workers:W2',
      'worker W2 died, status:0',
      'exiting',
      'worker 1 says hello',
      'worker 2 says hello',
    ],
  );

  sideBySide(
    'tells the terminal when an address is in use',
    async (run) => {
      run.start([
        '--interval=0',
        '--daemonize',
        '--log-file=log',
        `--port=192.0.2.1:${run.ports[0]}`,
        '--pid-file=pid',
      ]);
      return [...(await run.ending()), run.file('log'), run.file('pid')];
    },
    [
      'exit code=99',
      'start_server (pid:MANAGER) starting now...',
      'failed to bind to 192.0.2.1:PORT1:Cannot assign requested address',
      'log: ',
      'pid: (absent)',
    ],
  );
});

describe('--restart and --stop', () => {
  sideBySide(
    'of nothing',
    async (run) => {
      const outcomes = [
        await run.command(['--stop', '--pid-file=missing']),
        await run.command(['--restart', '--pid-file=missing', '--status-file=missing']),
      ];
      return outcomes.flatMap(({ ended, lines }) => [`exit code=${ended.code}`, ...lines]);
    },
    [
      'exit code=2',
      'failed to open file:missing:No such file or directory',
      'exit code=2',
      'failed to open file:missing:No such file or directory',
    ],
  );

  sideBySide(
    '--restart returns when the old worker has ended',
    async (run) => {
      const files = ['--pid-file=pid', '--status-file=status'];
      run.start(['--interval=0', ...files], { env: { COMPAT_PLAN: '1:stubborn' } });
      await run.fileBecomes('status', 'status: 1:W1');
      await run.events.next(/^up gen=1/);
      const restart = run.command(['--restart', ...files]);
      await run.events.next(/^signal gen=1/);
      run.signalWorker('W1', 'SIGKILL');
      const { ended, lines } = await restart;
      await run.whenUp(2);
      const status = run.file('status');
      await run.finish();
      return [`exit code=${ended.code}`, ...lines, status];
    },
    ['exit code=0', 'status: 2:W2'],
  );
});

/** What makes it a daemon: a session without a terminal, adopted, no way to the terminal that started it. */
function daemonFacts(run: Run): string[] {
  const pid = Number(readFileSync(run.path('pid'), 'utf8'));
  // pid (name) state ppid pgrp session tty
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  const [, , pgrp, session, tty] = stat;
  const where = [0, 1, 2].map((fd) => run.normalise(readlinkSync(`/proc/${pid}/fd/${fd}`)));
  return [
    `leads its session ${session === String(pid)}`,
    `own group ${pgrp === session}`,
    `tty ${tty}`,
    `stdio ${where.join(' ')}`,
  ];
}
