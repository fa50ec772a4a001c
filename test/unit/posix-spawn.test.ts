import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type SpawnOptions, SystemError, spawn, wait3, waitpid } from '../../src/posix';
import { addonScript, outputOf, root, runAddonScript, shell, temporaryDirectory } from '../helpers/posix';

const isRoot = process.geteuid?.() === 0;
const NOBODY = 65_534;

function failure(file: string, args: readonly string[] = [], options: SpawnOptions = {}): SystemError {
  try {
    const child = spawn(file, args, options);
    child.kill('SIGKILL');
    waitpid(child);
  } catch (error) {
    if (error instanceof SystemError) return error;
    throw error;
  }
  throw new Error(`${file} was started`);
}

describe('spawn', () => {
  it('runs a program with its arguments and environment', () => {
    expect(outputOf('printf', ['%s|', 'a b', '', 'c'])).toBe('a b||c|');
    expect(shell('echo $A-$B', { env: { A: '1', B: undefined } })).toBe('1-\n');
    expect(outputOf('/bin/sh', ['-c', 'echo $0'], { argv0: 'x' })).toBe('x\n');
  });

  it('gives a child that is reaped once, its pidfd closed with it', () => {
    const child = spawn('/bin/sh', ['-c', 'exit 7']);
    expect(child.pidfd).toBeGreaterThan(2);
    expect(child.reaped).toBe(false);
    expect(waitpid(child)).toMatchObject({ pid: child.pid, status: 7 << 8, exitCode: 7, signal: null });
    expect(child).toMatchObject({ pidfd: -1, reaped: true });
    expect(child.kill()).toBe(false);
    expect(waitpid(child)).toBeUndefined();
  });

  it('passes exactly the named descriptors, whatever their numbers', () => {
    const [a, b] = [openSync('/etc/passwd', 'r'), openSync('/etc/group', 'r')] as const;
    const list = 'for f in 3 4 5 6 7 8; do readlink /proc/$$/fd/$f || echo none; done';
    const swapped = shell(list, {
      fds: [
        [a, 4],
        [b, 3],
        [a, 7],
      ],
    });
    expect(swapped.split('\n')).toEqual([
      '/etc/group',
      '/etc/passwd',
      'none',
      'none',
      '/etc/passwd',
      'none',
      '',
    ]);
    const crossed = shell(`readlink /proc/$$/fd/${a} /proc/$$/fd/${b}`, {
      fds: [
        [a, b],
        [b, a],
      ],
    });
    expect(crossed).toBe('/etc/group\n/etc/passwd\n');
    closeSync(a);
    closeSync(b);
  });

  it('puts /dev/null where nothing is named', () => {
    expect(shell('readlink /proc/$$/fd/0 /proc/$$/fd/2', { stdio: [null, 1, null] })).toBe(
      '/dev/null\n/dev/null\n',
    );
  });

  it('passes sockets as systemd does', () => {
    const fd = openSync('/dev/null', 'r');
    const script =
      'echo $LISTEN_FDS; [ $LISTEN_PID = $$ ] && echo mine; readlink /proc/$$/fd/3 /proc/$$/fd/4';
    expect(shell(script, { listenFds: [fd, fd] })).toBe('2\nmine\n/dev/null\n/dev/null\n');
    closeSync(fd);
  });

  it('applies directory, umask, limits, session and group', () => {
    const options: SpawnOptions = {
      cwd: '/usr',
      umask: 0o27,
      rlimits: { nofile: [77, 88], core: [0, -1] },
      setsid: true,
    };
    expect(shell('pwd; umask; ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc', options)).toBe(
      '/usr\n0027\n77\n88\n0\nunlimited\n',
    );
    const stat =
      'read pid comm state ppid pgrp session rest < /proc/$$/stat; echo $(($pid == $pgrp)) $(($pid == $session))';
    expect(shell(stat, { setsid: true })).toBe('1 1\n');
    expect(shell(stat, { setpgid: true })).toBe('1 0\n');
    expect(shell(stat)).toBe('0 0\n');
  });

  it('starts with default dispositions and nothing blocked', () => {
    const ignore = () => {};
    process.on('SIGWINCH', ignore);
    const status = outputOf('/bin/cat', ['/proc/self/status']);
    process.off('SIGWINCH', ignore);
    for (const set of ['SigBlk', 'SigIgn', 'SigCgt']) expect(status).toContain(`${set}:\t0000000000000000\n`);
  });

  it.runIf(isRoot)('becomes another user, with no group of root’s', () => {
    expect(shell('id -u; id -g; id -G', { uid: NOBODY, gid: NOBODY })).toBe('65534\n65534\n65534\n');
    expect(shell('id -G', { uid: NOBODY, gid: NOBODY, groups: [1, 2] })).toBe('65534 1 2\n');
    expect(shell('grep NoNewPrivs /proc/self/status', { noNewPrivs: true })).toBe('NoNewPrivs:\t1\n');
  });

  it('names the step that failed and what it was about', () => {
    expect(failure('/nonexistent')).toMatchObject({
      code: 'ENOENT',
      errno: -2,
      syscall: 'execve',
      path: '/nonexistent',
    });
    expect(failure('no-such-program')).toMatchObject({ code: 'ENOENT', syscall: 'execve' });
    expect(failure('/etc/passwd')).toMatchObject({ code: 'EACCES', syscall: 'execve' });
    expect(failure('/bin/true', [], { cwd: '/nonexistent' })).toMatchObject({
      code: 'ENOENT',
      syscall: 'chdir',
      path: '/nonexistent',
    });
    expect(failure('/bin/true', ['x'.repeat(1 << 20)])).toMatchObject({ code: 'E2BIG', syscall: 'execve' });
    expect(failure('/bin/true', [], { setsid: true, setpgid: true })).toMatchObject({
      code: 'EPERM',
      syscall: 'setpgid',
    });
    expect(failure('/bin/true', [], { rlimits: { nofile: [2, 1] } })).toMatchObject({
      code: 'EINVAL',
      syscall: 'setrlimit',
    });
    expect(failure('/bin/true', [], { fds: [[9999, 3]] })).toMatchObject({ code: 'EBADF', syscall: 'fcntl' });
    expect(
      failure('/bin/true', [], {
        fds: [
          [0, 3],
          [1, 3],
        ],
      }),
    ).toMatchObject({ code: 'EINVAL', syscall: 'fds' });
    expect(failure('/nonexistent').message).toBe("ENOENT: no such file or directory, execve '/nonexistent'");
    expect(wait3({ noHang: true })).toBeUndefined();
  });

  it('runs no shell for a script without #!', () => {
    using directory = temporaryDirectory();
    const script = join(directory.path, 'script');
    writeFileSync(script, 'exit 0\n', { mode: 0o700 });
    expect(failure(script)).toMatchObject({ code: 'ENOEXEC', syscall: 'execve', path: script });
  });

  it.runIf(isRoot)('names the step where privileges are missing', () => {
    const { stdout } = runAddonScript(`
      process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY});
      const spec = { file: '/bin/true', args: ['true'], env, fds: [] };
      for (const change of [{ groups: [1] }, { gid: 1 }, { uid: 1 }]) console.log(JSON.stringify(addon.spawn({ ...spec, ...change })));
    `);
    const steps = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(steps).toEqual(['setgroups', 'setgid', 'setuid'].map((step) => ({ errno: -1, step })));
  });

  it('reports want of descriptors', () => {
    const script = addonScript(`
      const spec = { file: '/bin/true', args: ['true'], env, fds: [] };
      const opened = [];
      for (let fd; (fd = addon.dup(0, 0)) >= 0; ) opened.push(fd);
      const failed = addon.spawn(spec);
      for (const fd of opened) addon.close(fd);
      const started = addon.spawn(spec);
      console.log(JSON.stringify([failed, addon.waitpid(started.pid, started.pidfd, false)[1]]));
    `);
    const output = outputOf(process.execPath, ['-e', script], { cwd: root, rlimits: { nofile: [100, 100] } });
    expect(JSON.parse(output)).toEqual([{ errno: -24, step: 'open' }, 0]);
  });

  it('checks types before it does anything', () => {
    const wrong: unknown[] = [
      { file: 1 },
      { args: 'x' },
      { args: ['a\0b'] },
      { fds: [[1]] },
      { fds: [[1.5, 2]] },
      { umask: -1 },
      { uid: -1 },
      { rlimits: { nosuch: [1, 1] } },
      { rlimits: { nofile: [1] } },
      { cwd: 1 },
      { setsid: 1 },
      { deathSignal: 'SIGNOPE' },
    ];
    for (const change of wrong) {
      const { file = '/bin/true', args = [], ...options } = change as { file: string; args: string[] };
      expect(() => spawn(file, args, options), JSON.stringify(change)).toThrow(TypeError);
    }
  });

  it('lets a getter of the caller’s throw its own error', () => {
    const options = {
      get umask(): number {
        throw new RangeError('mine');
      },
    };
    expect(() => spawn('/bin/true', [], options)).toThrow('mine');
  });
});
