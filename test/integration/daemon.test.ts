import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Status } from '../../src/control/protocol';
import { ended, Ground, ranOf } from '../helpers/commands';
import { engines, fixture } from '../helpers/service';

/** A test is a dozen commands, each a Node.js that starts. */
vi.setConfig({ testTimeout: 90_000, hookTimeout: 30_000 });

describe.each(engines)('prefork start, stop, restart, reload, status, scale, %s engine', (engine) => {
  let ground: Ground;
  const flag = engine === 'native' ? '--native' : '--no-native';
  const server = fixture('server.js');
  const service = ['--pid-file', 'app.pid'];
  const background = [flag, '-w', '2', '-b', '127.0.0.1:0', ...service, '--log-file', 'app.log'];

  beforeEach(() => {
    ground = new Ground(engine);
  });
  afterEach(() => ground.dispose());

  const pidOfFile = (): number => Number(ground.read('app.pid'));

  async function statusOf(): Promise<Status> {
    const { stdout, code } = await ground.run(['status', ...service, '--json']);
    expect(code).toBe(0);
    return JSON.parse(stdout) as Status;
  }

  async function answer(message: string): Promise<Response> {
    const address = /http:\/\/[\d.:]+/.exec(message)?.[0];
    return fetch(`${address}/pid`, { headers: { connection: 'close' } });
  }

  it('goes all the way from start to stop', async () => {
    const started = await ground.run(['start', ...background, server]);
    expect(started).toMatchObject({ code: 0, stderr: '' });
    expect(started.stdout).toMatch(/^prefork: serving http:\/\/127\.0\.0\.1:\d+ with 2 workers/);
    // Ready means ready: the first request is answered.
    expect((await answer(started.stdout)).status).toBe(200);

    const first = await statusOf();
    expect(first).toMatchObject({
      pid: pidOfFile(),
      engine,
      state: 'running',
      generation: 1,
      nextGeneration: null,
      workersWanted: 2,
      workersReady: 2,
    });
    expect(first.workers.map(({ slot, state, generation }) => [slot, state, generation])).toEqual([
      [0, 'ready', 1],
      [1, 'ready', 1],
    ]);
    expect(first.workers.map(({ pid }) => pid)).toContain(
      Number(await (await answer(started.stdout)).text()),
    );

    const reloaded = await ground.run(['reload', ...service]);
    expect(reloaded).toMatchObject({ code: 0, stderr: '' });
    expect(reloaded.stdout).toContain('generation 2 serves');
    expect(await statusOf()).toMatchObject({ pid: first.pid, generation: 2, workersReady: 2 });

    expect(await ground.run(['scale', '1', ...service])).toMatchObject({
      code: 0,
      stdout: 'prefork: 1 worker is wanted now\n',
    });
    expect(await ground.run(['scale', '3', ...service])).toMatchObject({
      code: 0,
      stdout: 'prefork: 3 workers are wanted now\n',
    });
    expect(await statusOf()).toMatchObject({ workersWanted: 3 });

    const table = await ground.run(['status', ...service]);
    expect(table.stdout).toMatch(/app\.pid: running, manager \d+, generation 2, \d of 3 workers ready/);
    expect(table.stdout).toMatch(
      /^SLOT +PID +GENERATION +STATE +AGE +REQUESTS +LAG +LOOP +RSS +PSS +LAST EXIT$/m,
    );

    const restarted = await ground.run(['restart', ...background, server]);
    expect(restarted).toMatchObject({ code: 0, stderr: '' });
    const second = await statusOf();
    expect(second).toMatchObject({ generation: 1, workersWanted: 2 });
    expect(second.pid).not.toBe(first.pid);

    expect(await ground.run(['stop', ...service])).toMatchObject({
      code: 0,
      stdout: `prefork: manager ${second.pid} has stopped\n`,
    });
    expect(ground.processes()).toEqual([]);
    expect(ground.files()).toEqual(['app.log']);
    await expect(answer(started.stdout)).rejects.toThrow();

    expect(await ground.run(['stop', ...service])).toMatchObject({
      code: 0,
      stdout: `prefork: not running (${ground.path('app.pid')})\n`,
    });
    expect(await ground.run(['status', ...service])).toMatchObject({ code: 3 });
    const gone = await ground.run(['reload', ...service]);
    expect(gone.code).toBe(7);
    expect(gone.stderr).toContain('ERR_PREFORK_NOT_RUNNING');
  });

  it('has neither terminal nor session nor descriptors of the process that started it', async () => {
    await ground.run(['start', ...background, server]);
    const pid = pidOfFile();
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ');
    const [, parent, , session, terminal] = stat.map(Number);
    expect(parent).not.toBe(process.pid);
    expect(terminal).toBe(0);
    expect(session).not.toBe(sessionOf(process.pid));
    // A session leader could get a terminal again by opening one: after a double fork nobody leads it.
    if (engine === 'native') expect(session).not.toBe(pid);
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
    const [worker] = (await statusOf()).workers;
    const inherited = readFileSync(`/proc/${worker!.pid}/environ`, 'latin1');
    expect(environment).toContain('PREFORK_START_REPORT=');
    expect(inherited).not.toContain('PREFORK_START_REPORT=');
    await ground.run(['stop', ...service]);
  });

  it('writes what manager and workers print to the log file, also to a new one on USR1', async () => {
    const printer = ground.write(
      'printer.js',
      `console.error('said by', process.pid);
       setInterval(() => {}, 1e9);
       process.send('ready');`,
    );
    const args = [flag, '-w', '1', '--ready', 'message', ...service, '--log-file', 'app.log', printer];
    expect(await ground.run(['start', ...args])).toMatchObject({ code: 0 });
    const [worker] = (await statusOf()).workers;
    expect(ground.read('app.log')).toContain(`said by ${worker!.pid}`);
    expect(ground.read('app.log')).toContain('"event":"serving"');
    renameSync(ground.path('app.log'), ground.path('app.log.1'));
    process.kill(pidOfFile(), 'SIGUSR1');
    // The answer to a reload comes after the signal was taken.
    expect(await ground.run(['reload', ...service])).toMatchObject({ code: 0 });
    const [next] = (await statusOf()).workers.filter(({ generation }) => generation === 2);
    expect(ground.read('app.log')).toContain(`said by ${next!.pid}`);
    expect(ground.read('app.log.1')).not.toContain(`said by ${next!.pid}`);
    await ground.run(['stop', ...service]);
  });

  it('run --daemonize is start', async () => {
    const started = await ground.run(['run', '--daemonize', ...background, server]);
    expect(started).toMatchObject({ code: 0, stderr: '' });
    expect(await statusOf()).toMatchObject({ state: 'running' });
    await ground.run(['stop', ...service]);
  });

  it('says why the first worker failed, with its last words and the exit code, and leaves nothing', async () => {
    const entry = ground.write('broken.js', `throw new Error('no database at all');`);
    const { code, stderr, stdout } = await ground.run(['start', ...background, entry]);
    expect(code).toBe(3);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^prefork: cannot start: worker \d+ exited with code 1 before it was ready: /);
    expect(stderr).toContain('no database at all');
    expect(stderr).toContain(`the log is ${ground.path('app.log')}`);
    await ground.quiet();
    expect(ground.files()).toEqual(['app.log', 'broken.js']);
    expect(await ground.run(['status', ...service])).toMatchObject({ code: 3 });
  });

  it('says so when no address is to be had', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const args = [flag, '-b', `127.0.0.1:${port}`, ...service, '--log-file', 'app.log', server];
    const { code, stderr } = await ground.run(['start', ...args]);
    expect(code).toBe(4);
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${port}: EADDRINUSE`);
    expect(stderr).toMatch(/^prefork: cannot start: .* \[ERR_PREFORK_LISTEN\]$/m);
    await ground.quiet();
    expect(ground.files()).toEqual(['app.log']);
    other.close();
  });

  it('of two starts at once one wins, and the other says so', async () => {
    const results = await Promise.all([
      ground.run(['start', ...background, server]),
      ground.run(['start', ...background, server]),
    ]);
    const [won, lost] = results.sort((a, b) => a.code! - b.code!);
    expect(won).toMatchObject({ code: 0, stderr: '' });
    expect(lost).toMatchObject({ code: 1, stdout: '' });
    expect(lost!.stderr).toMatch(/already running with pid \d+/);
    expect(await statusOf()).toMatchObject({ pid: pidOfFile(), workersReady: 2 });
    await ground.run(['stop', ...service]);
    await ground.quiet();
    expect(ground.files()).toEqual(['app.log']);
  });

  it('a stop during the start ends both', async () => {
    const gate = await openGate();
    const entry = ground.write('slow.js', `require('net').connect(${gate.port}, '127.0.0.1');`);
    const starting = ground.spawn(['start', ...background, entry]);
    const result = ranOf(starting);
    await gate.entered;
    expect(
      await ground.run(['status', ...service, '--json']).then(({ stdout }) => JSON.parse(stdout)),
    ).toMatchObject({
      state: 'starting',
    });
    expect(await ground.run(['stop', ...service])).toMatchObject({ code: 0 });
    const { code, stderr } = await result;
    expect(code).toBe(1);
    expect(stderr).toContain('stopped before it was ready');
    await ground.quiet();
    expect(ground.files()).toEqual(['app.log', 'slow.js']);
  });

  it('an interrupt while start waits ends what it started', async () => {
    const gate = await openGate();
    const entry = ground.write('slow.js', `require('net').connect(${gate.port}, '127.0.0.1');`);
    const starting = ground.spawn(['start', ...background, entry]);
    const result = ranOf(starting);
    await gate.entered;
    starting.kill('SIGINT');
    expect((await result).code).toBe(1);
    await ground.quiet();
    expect(ground.files()).toEqual(['app.log', 'slow.js']);
  });

  it('a reload that fails tells why and touches nothing', async () => {
    const entry = ground.write('app.js', readFileSync(server, 'utf8'));
    await ground.run(['start', ...background, entry]);
    const before = await statusOf();
    ground.write('app.js', `console.error('about to fail'); process.exit(5);`);
    const { code, stderr } = await ground.run(['reload', ...service]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^prefork: reload failed: worker \d+ exited with code 5 before it was ready/);
    expect(stderr).toContain('about to fail');
    const after = await statusOf();
    const serving = (status: Status): unknown =>
      status.workers.filter((w) => w.generation === 1).map((w) => w.pid);
    expect(after).toMatchObject({ generation: 1, workersReady: 2, state: 'running' });
    expect(serving(after)).toEqual(serving(before));
    await ground.run(['stop', ...service]);
  });

  it('a reload whose configuration is wrong says what is wrong', async () => {
    const config = ground.write('app.json', JSON.stringify({ workers: 1 }));
    const args = [...background.filter((arg) => arg !== '-w' && arg !== '2'), '--config', config];
    expect(await ground.run(['start', ...args, server])).toMatchObject({ code: 0 });
    ground.write('app.json', JSON.stringify({ workers: 'many' }));
    const { code, stderr } = await ground.run(['reload', ...service]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/reload failed: workers in .*app\.json: "many"/);
    await ground.run(['stop', ...service]);
  });

  it('restart checks before it stops, and says when the new one cannot be started', async () => {
    await ground.run(['start', ...background, server]);
    const { pid } = await statusOf();
    expect(await ground.run(['restart', ...background, 'missing.js'])).toMatchObject({ code: 1 });
    expect(await ground.run(['restart', ...background, '-w', 'none', server])).toMatchObject({ code: 1 });
    expect(await statusOf()).toMatchObject({ pid });
    const entry = ground.write('broken.js', `throw new Error('broken');`);
    const { code, stderr } = await ground.run(['restart', ...background, entry]);
    expect(code).toBe(3);
    expect(stderr).toContain('broken');
    expect(stderr).toContain('the service was stopped, and does not run now');
    await ground.quiet();
  });

  it('finds the service by the configuration file', async () => {
    ground.write(
      'prefork.config.json',
      JSON.stringify({ workers: 1, bind: '127.0.0.1:0', control: 'run/app.sock', logFile: 'app.log' }),
    );
    mkdirSync(ground.path('run'));
    expect(await ground.run(['start', flag, server])).toMatchObject({ code: 0 });
    expect(await ground.run(['status'])).toMatchObject({ code: 0 });
    expect(await ground.run(['stop'])).toMatchObject({ code: 0 });
    await ground.quiet();
    expect(await ground.run(['status'])).toMatchObject({ code: 3 });
    const lost = await ground.run(['status'], { PREFORK_CONFIG: ground.write('empty.json', '{}') });
    expect(lost.code).toBe(1);
    expect(lost.stderr).toContain('Name it by --pid-file or --control');
  });

  it('replaces what a killed manager left, whatever process has its pid now', async () => {
    await ground.run(['start', ...background, server]);
    const { pid, workers } = await statusOf();
    process.kill(pid, 'SIGKILL');
    await ended(pid);
    for (const worker of workers) await ended(worker.pid!);
    expect(await ground.run(['status', ...service])).toMatchObject({ code: 1 });
    expect(await ground.run(['stop', ...service])).toMatchObject({ code: 0 });

    // The pid is that of somebody else by now, who started after the file was written.
    const stranger = spawn('sleep', ['1000']);
    writeFileSync(ground.path('app.pid'), `${stranger.pid}\n`);
    utimesSync(ground.path('app.pid'), 1e9, 1e9);
    expect(await ground.run(['status', ...service])).toMatchObject({ code: 1 });
    expect(await ground.run(['stop', ...service])).toMatchObject({ code: 0 });
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
    expect(await ground.run(['start', ...background, server])).toMatchObject({ code: 0 });
    expect(pidOfFile()).not.toBe(stranger.pid);
    await ground.run(['stop', ...service]);
    stranger.kill();
    await once(stranger, 'exit');
  });

  it.runIf(engine === 'native')('tells a file that a stranger has locked from its own', async () => {
    writeFileSync(ground.path('app.pid'), `${process.pid}\n`);
    const stranger = spawn('flock', [
      '-n',
      ground.path('app.pid'),
      'sh',
      '-c',
      'echo locked; exec sleep 1000',
    ]);
    await once(stranger.stdout!, 'data');
    const status = await ground.run(['status', ...service]);
    expect(status.code).toBe(4);
    expect(status.stdout).toContain('which is no manager of it');
    const stop = await ground.run(['stop', ...service]);
    expect(stop.code).toBe(1);
    const start = await ground.run(['start', ...background, server]);
    expect(start.code).toBe(1);
    expect(start.stderr).toContain('already running');
    // flock's child holds the lock too, and flock ends with it. Looked up while flock lives: of one that has ended there are none.
    const [child] = readFileSync(`/proc/${stranger.pid}/task/${stranger.pid}/children`, 'utf8')
      .trim()
      .split(' ');
    expect(child).toMatch(/^[1-9]\d*$/);
    process.kill(Number(child), 'SIGKILL');
    await once(stranger, 'exit');
  });

  it('ends a manager that does not answer by signal, and says when it does not end', async () => {
    await ground.run(['start', ...background, server]);
    const pid = pidOfFile();
    process.kill(pid, 'SIGSTOP');
    const status = await ground.run(['status', ...service]);
    expect(status.code).toBe(4);
    expect(status.stdout).toContain('does not answer');
    const stop = await ground.run(['stop', ...service, '--timeout', '100ms']);
    expect(stop.code).toBe(1);
    expect(stop.stderr).toMatch(/did not stop within 100ms/);
    process.kill(pid, 'SIGCONT');
    await ended(pid);
    expect(ground.files()).toEqual(['app.log']);
  });

  it('stop --now does not wait for what is in flight', async () => {
    const entry = ground.write(
      'stubborn.js',
      `process.on('SIGTERM', () => {}); require('http').createServer(() => {}).listen(0, '127.0.0.1');`,
    );
    await ground.run(['start', ...background, '--graceful-timeout', '1h', entry]);
    expect(await ground.run(['stop', '--now', ...service])).toMatchObject({ code: 0 });
    await ground.quiet();
  });

  it('works by signals alone where there is no control socket', async () => {
    const path = ground.path('app.control');
    // Not ours to replace, and nobody asked for a control socket: a warning, no more.
    writeFileSync(path, 'precious');
    const started = await ground.run(['start', ...background, server]);
    expect(started).toMatchObject({ code: 0 });
    expect(ground.read('app.log')).toContain('"event":"control-failed"');
    const status = await ground.run(['status', ...service]);
    expect(status.stdout).toContain(`manager ${pidOfFile()}`);
    expect((await ground.run(['reload', ...service])).code).toBe(1);
    expect(await ground.run(['stop', ...service])).toMatchObject({ code: 0 });
    await ground.quiet();
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  describe('bad input', () => {
    const refused: [string, () => string[], string][] = [
      ['no --log-file', () => ['start', flag, server], 'needs --log-file'],
      [
        'a control path that is a regular file',
        () => ['start', ...background, '--control', ground.write('file', ''), server],
        'exists and is a regular file',
      ],
      [
        'a control path that is too long',
        () => ['start', ...background, '--control', `${'x'.repeat(120)}`, server],
        'and the system allows',
      ],
      [
        'a pid file in no directory',
        () => ['start', flag, '--pid-file', 'no/app.pid', '--log-file', 'app.log', server],
        'no such file or directory',
      ],
      [
        'sockets of a parent',
        () => ['start', ...background, '-b', 'systemd', server],
        'is for prefork run in the foreground',
      ],
      ['a number of workers that is none', () => ['scale', '0', ...service], "'0' is no number of workers"],
      ['a timeout that is none', () => ['stop', ...service, '--timeout', 'soon'], 'expected a duration'],
    ];
    it.each(refused)('%s is refused in one line', async (_name, args, words) => {
      const { code, stderr, stdout } = await ground.run(args());
      expect(stderr).toContain(words);
      expect(stderr.trimEnd().split('\n')).toHaveLength(1);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(ground.processes()).toEqual([]);
    });

    it('a pid file that may not be written', async () => {
      // Root may write what is not writable, but not a directory.
      mkdirSync(ground.path('app.pid'));
      chmodSync(ground.path('app.pid'), 0o500);
      expect((await ground.run(['start', ...background, server])).code).toBe(1);
      expect(statSync(ground.path('app.pid')).isDirectory()).toBe(true);
    });
  });
});

function sessionOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[3]);
}

/** Where a program that is never ready says that it runs. */
async function openGate(): Promise<{ port: number; entered: Promise<unknown> }> {
  const gate = createServer((socket) => {
    socket.on('error', () => {}).on('close', () => gate.close());
  });
  gate.listen(0, '127.0.0.1');
  await once(gate, 'listening');
  return { port: (gate.address() as AddressInfo).port, entered: once(gate, 'connection') };
}
