import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { describe } from 'vitest';
import type { Run } from './run';
import { sideBySide } from './side-by-side';

/** Local addresses of sockets on this run's ports, from /proc/net: `tcp 0.0.0.0:PORT1 listening`. */
function boundAddresses(run: Run): string[] {
  const tables = ['tcp', 'tcp6', 'udp', 'udp6'];
  const found = tables.flatMap((table) => {
    const lines = readFileSync(`/proc/net/${table}`, 'utf8').trim().split('\n').slice(1);
    return lines.flatMap((line) => {
      const [, local = '', , state] = line.trim().split(/\s+/);
      const [address = '', port = ''] = local.split(':');
      const name = run.normalise(String(Number.parseInt(port, 16)));
      if (!name.startsWith('PORT')) return [];
      return [`${table} ${address}:${name}${state === '0A' ? ' listening' : ''}`];
    });
  });
  return found.sort();
}

/** Backlog that the kernel keeps for the socket; from inet_diag and unix_diag, by way of ss(8). */
function backlogs(run: Run): string[] {
  const { stdout } = spawnSync('ss', ['-Hlntx'], { encoding: 'utf8' });
  return stdout.split('\n').flatMap((line) => {
    const [, state, , backlog, local = ''] = line.trim().split(/\s+/);
    const name = run.normalise(local);
    return state === 'LISTEN' && /PORT|DIR/.test(name) ? [`${name} ${backlog}`] : [];
  });
}

const LIMITED_BACKLOG = Math.min(4096, Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')));

async function upAndDown(run: Run, args: readonly string[]): Promise<string[]> {
  if (run.implementation.name === 'js' && args.some((arg) => /u\d+/.test(arg))) return failing(run, args);
  run.start(['--interval=0', ...args]);
  const up = await run.events.next(/^up gen=1/);
  const bound = boundAddresses(run);
  const rest = await run.finish();
  return [up, ...bound, ...rest.filter((line) => line.startsWith('socket'))];
}

/** Starts a manager that has to give up. */
async function failing(run: Run, args: readonly string[]): Promise<string[]> {
  run.start(['--interval=0', ...args]);
  return run.ending();
}

describe('--port', () => {
  sideBySide('PORT is on every IPv4 address', (run) => upAndDown(run, [`--port=${run.ports[0]}`]), [
    'up gen=1 | pid=W1 | ports=PORT1=F1 | sockets=F1 | cwd=DIR | args=',
    'tcp 00000000:PORT1 listening',
  ]);

  sideBySide(
    'HOST:PORT, a name, IPv6 with and without brackets',
    async (run) => {
      const [first, second] = run.ports;
      const hosts = [`127.0.0.1:${first}`, `localhost:${second}`, `[::1]:${first}`, `::1:${second}`];
      return upAndDown(
        run,
        hosts.map((host) => `--port=${host}`),
      );
    },
    [
      'up gen=1 | pid=W1 | ports=127.0.0.1:PORT1=F1;localhost:PORT2=F2;[::1]:PORT1=F3;[::1]:PORT2=F4 | sockets=F1,F2,F3,F4 | cwd=DIR | args=',
      'tcp 0100007F:PORT1 listening',
      'tcp 0100007F:PORT2 listening',
      'tcp6 00000000000000000000000001000000:PORT1 listening',
      'tcp6 00000000000000000000000001000000:PORT2 listening',
    ],
  );

  sideBySide(
    '=FD says the number in the worker, 0 too',
    (run) => upAndDown(run, [`--port=127.0.0.1:${run.ports[0]}=0`, `--port=[::1]:${run.ports[0]}=9`]),
    [
      'up gen=1 | pid=W1 | ports=127.0.0.1:PORT1=0;[::1]:PORT1=9 | sockets=0,9 | cwd=DIR | args=',
      'tcp 0100007F:PORT1 listening',
      'tcp6 00000000000000000000000001000000:PORT1 listening',
      'socket is duplicated to file descriptor 0',
      'socket is duplicated to file descriptor 9',
    ],
  );

  sideBySide(
    'u is UDP',
    (run) => upAndDown(run, [`--port=u${run.ports[0]}`, `--port=127.0.0.1:u${run.ports[1]}=8`]),
    [
      'up gen=1 | pid=W1 | ports=PORT1=F1;127.0.0.1:PORT2=8 | sockets=F1,8 | cwd=DIR | args=',
      'udp 00000000:PORT1',
      'udp 0100007F:PORT2',
      'socket is duplicated to file descriptor 8',
    ],
    {
      why: 'the js engine has no UDP',
      js: [
        'exit code=255',
        'start_server (pid:MANAGER) starting now...',
        '--port=uPORT1 needs the addon, which did not load',
      ],
    },
  );

  sideBySide(
    'TCP and UDP on one port',
    (run) => upAndDown(run, [`--port=${run.ports[0]}`, `--port=u${run.ports[0]}`]),
    [
      'up gen=1 | pid=W1 | ports=PORT1=F1;PORT1=F2 | sockets=F1,F2 | cwd=DIR | args=',
      'tcp 00000000:PORT1 listening',
      'udp 00000000:PORT1',
    ],
    {
      why: 'under one name the program would see only one of the two; the js engine has no UDP',
      ours: [
        'up gen=1 | pid=W1 | ports=PORT1=F1;uPORT1=F2 | sockets=F1,F2 | cwd=DIR | args=',
        'tcp 00000000:PORT1 listening',
        'udp 00000000:PORT1',
      ],
      js: [
        'exit code=255',
        'start_server (pid:MANAGER) starting now...',
        '--port=uPORT1 needs the addon, which did not load',
      ],
    },
  );

  sideBySide('0 is any free port', (run) => upAndDown(run, ['--port=0', '--port=127.0.0.1:0']), [
    'up gen=1 | pid=W1 | ports=0=F1;127.0.0.1:0=F2 | sockets=F1,F2 | cwd=DIR | args=',
  ]);

  sideBySide('white space around it is nothing', (run) => upAndDown(run, [`--port= ${run.ports[0]} `]), [
    'up gen=1 | pid=W1 | ports=PORT1=F1 | sockets=F1 | cwd=DIR | args=',
    'tcp 00000000:PORT1 listening',
  ]);

  const bad = ['abc', '80=', '80=x', 'uu80', '-1', 'U80', '127.0.0.1', '80=1=2'];
  sideBySide(
    'that is none is refused',
    async (run) => {
      const outcomes: string[] = [];
      for (const port of bad) {
        const { ended, lines } = await run.command(['--port', port, '--', 'true']);
        outcomes.push(`exit code=${ended.code} ${lines.slice(1).join(' ')}`);
      }
      return outcomes;
    },
    bad.map((port) => `exit code=255 invalid \`\`port'' value:${port}`),
    undefined,
    'one',
  );

  sideBySide(
    'above 65535 is refused',
    async (run) => (run.isOriginal ? upAndDown(run, ['--port=65536']) : failing(run, ['--port=65536'])),
    ['up gen=1 | pid=W1 | ports=65536=F1 | sockets=F1 | cwd=DIR | args='],
    {
      why: 'the original warns, and opens what is left after a division',
      ours: ['exit code=255', 'start_server (pid:MANAGER) starting now...', "invalid ``port'' value:65536"],
    },
  );

  sideBySide(
    'a host without an address is refused',
    (run) => failing(run, ['--port=no.such.host.invalid:80']),
    [
      'exit code=255',
      'start_server (pid:MANAGER) starting now...',
      'failed to resolve host:no.such.host.invalid:',
    ],
  );

  sideBySide(
    'an address that is in use ends the manager with its errno',
    async (run) => {
      const server = await occupy(run.ports[0] as number);
      try {
        return await failing(run, [`--port=${run.ports[1]}`, `--port=127.0.0.1:${run.ports[0]}`]);
      } finally {
        server.close();
      }
    },
    [
      'exit code=98',
      'start_server (pid:MANAGER) starting now...',
      'failed to bind to 127.0.0.1:PORT1:Address already in use',
    ],
  );

  sideBySide(
    'an address of another machine ends the manager with its errno',
    (run) => failing(run, [`--port=192.0.2.1:${run.ports[0]}`, '--path=socket']),
    [
      'exit code=99',
      'start_server (pid:MANAGER) starting now...',
      'failed to bind to 192.0.2.1:PORT1:Cannot assign requested address',
    ],
  );

  sideBySide(
    'two sockets for one descriptor',
    async (run) => {
      const args = [`--port=${run.ports[0]}=9`, `--port=${run.ports[1]}=9`];
      return run.isOriginal ? upAndDown(run, args) : failing(run, args);
    },
    [
      'up gen=1 | pid=W1 | ports=PORT1=9;PORT2=9 | sockets=9 | cwd=DIR | args=',
      'tcp 00000000:PORT2 listening',
      'socket is duplicated to file descriptor 9',
      'socket is duplicated to file descriptor 9',
    ],
    {
      why: 'the original closes the first',
      ours: [
        'exit code=255',
        'start_server (pid:MANAGER) starting now...',
        'two sockets cannot both be descriptor 9',
      ],
    },
  );

  sideBySide(
    'a descriptor asked for by one is not given to another',
    async (run) => {
      // In the original it is, unless that number happens to be taken.
      run.start(['--interval=0', `--port=${run.ports[0]}=3`, `--port=${run.ports[1]}`]);
      await run.events.next(/^up gen=1/);
      const bound = boundAddresses(run);
      await run.finish();
      return bound;
    },
    ['tcp 00000000:PORT1 listening', 'tcp 00000000:PORT2 listening'],
  );
});

describe('--path', () => {
  sideBySide(
    'is a Unix socket for everybody, and goes at the end',
    async (run) => {
      run.start(['--interval=0', '--path=one', `--path=${run.path('two')}`]);
      const up = await run.events.next(/^up gen=1/);
      const modes = ['one', 'two'].map((name) => {
        const stat = lstatSync(run.path(name));
        return `${name} ${stat.isSocket() ? 'socket' : 'other'} ${(stat.mode & 0o777).toString(8)}`;
      });
      await run.finish();
      return [up, ...modes, run.file('one'), run.file('two')];
    },
    [
      'up gen=1 | pid=W1 | ports=one=F1;DIR/two=F2 | sockets=F1,F2 | cwd=DIR | args=',
      'one socket 777',
      'two socket 777',
      'one: (absent)',
      'two: (absent)',
    ],
  );

  sideBySide(
    'takes the place of a socket that is there',
    async (run) => {
      const server = createServer().listen(run.path('socket'));
      await new Promise((done) => server.once('listening', done));
      try {
        run.start(['--interval=0', '--path=socket']);
        const up = await run.events.next(/^up gen=1/);
        return [up, ...(await run.finish()), run.file('socket')];
      } finally {
        server.close();
      }
    },
    [
      'up gen=1 | pid=W1 | ports=socket=F1 | sockets=F1 | cwd=DIR | args=',
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'removing existing socket file:socket',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
      'socket: (absent)',
    ],
  );

  sideBySide(
    'of a file that is no socket',
    async (run) => {
      writeFileSync(run.path('file'), 'precious');
      if (!run.isOriginal) return [...(await failing(run, ['--path=file'])), run.file('file')];
      run.start(['--interval=0', '--path=file']);
      await run.events.next(/^up gen=1/);
      return [...(await run.finish()), run.file('file')];
    },
    [
      'exit code=0',
      'start_server (pid:MANAGER) starting now...',
      'starting new worker W1',
      'received TERM, sending TERM to all workers:W1',
      'worker W1 died, status:0',
      'exiting',
      'file: (absent)',
    ],
    {
      why: 'the original removes whatever is there',
      ours: [
        'exit code=98',
        'start_server (pid:MANAGER) starting now...',
        'failed to listen to file file:Address already in use',
        'file: precious',
      ],
    },
  );

  sideBySide(
    'of a directory, and in one that is not there',
    async (run) => {
      mkdirSync(run.path('directory'));
      const first = await run.command(['--interval=0', '--path=directory', '--', 'true']);
      const second = await run.command(['--interval=0', '--path=missing/socket', '--', 'true']);
      return [first, second].flatMap(({ ended, lines }) => [`exit code=${ended.code}`, ...lines.slice(1)]);
    },
    [
      'exit code=98',
      'failed to listen to file directory:Address already in use',
      'exit code=2',
      'failed to listen to file missing/socket:No such file or directory',
    ],
  );

  sideBySide(
    'that is too long',
    async (run) => {
      const path = 'x'.repeat(120);
      if (!run.isOriginal) return failing(run, [`--path=${path}`]);
      run.start(['--interval=0', `--path=${path}`]);
      await run.events.next(/^up gen=1/);
      return [`exit code=${(await run.finish())[0]?.slice(-1)}`];
    },
    ['exit code=0'],
    {
      why: 'the original cuts it off, and leaves the file behind',
      ours: [
        'exit code=36',
        'start_server (pid:MANAGER) starting now...',
        'failed to listen to file xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:File name too long',
      ],
    },
  );
});

describe('--backlog', () => {
  sideBySide(
    'is what the kernel is told, for all of them',
    async (run) => {
      run.start([
        '--interval=0',
        '--backlog=7',
        `--port=127.0.0.1:${run.ports[0]}`,
        `--path=${run.path('socket')}`,
      ]);
      await run.events.next(/^up gen=1/);
      const seen = backlogs(run);
      await run.finish();
      return seen.sort();
    },
    ['127.0.0.1:PORT1 7', 'DIR/socket 7'],
  );

  sideBySide(
    'is as much as the system allows without the option',
    async (run) => {
      run.start(['--interval=0', `--port=127.0.0.1:${run.ports[0]}`]);
      await run.events.next(/^up gen=1/);
      const seen = backlogs(run);
      await run.finish();
      return seen;
    },
    [`127.0.0.1:PORT1 ${LIMITED_BACKLOG}`],
  );
});

async function occupy(port: number): Promise<Server> {
  const server = createServer().listen(port, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  return server;
}
