import { spawn as childProcessSpawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import {
  SystemError,
  adoptedChildren,
  close,
  daemonize,
  exec,
  kill,
  pidfdKill,
  pidfdOpen,
  sigprocmask,
  spawn,
  waitpid,
  watchExit,
} from '../../src/posix';
import { addonScript, root, runAddonScript, temporaryDirectory } from '../helpers/posix';

describe('the death signal', () => {
  it.each(['SIGKILL of the parent', 'its exit'])('ends the child on %s', async (how) => {
    // The middle process passes descriptor 3 on: its end of file means that both are gone.
    const middle = childProcessSpawn(
      process.execPath,
      [
        '-e',
        addonScript(`
          addon.spawn({ file: '/bin/sleep', args: ['sleep', '1000'], env, fds: [[3, 1]], deathSignal: 15 });
          process.stdout.write('started');
          ${how === 'its exit' ? 'process.exit();' : 'setInterval(() => {}, 1e6);'}
        `),
      ],
      { cwd: root, stdio: ['ignore', 'pipe', 'inherit', 'pipe'] },
    );
    const gone = text(middle.stdio[3] as Readable);
    await once(middle.stdout as Readable, 'data');
    middle.kill('SIGKILL');
    expect(await gone).toBe('');
  });
});

describe('kill', () => {
  it('signals by pid, by pidfd and by child', async () => {
    const child = spawn('/bin/sleep', ['1000']);
    expect(kill(child, 0)).toBe(true);
    expect(kill(child.pid, 0)).toBe(true);
    const pidfd = pidfdOpen(child.pid);
    expect(pidfdKill(pidfd, 'SIGUSR1')).toBe(true);
    expect(waitpid(child)?.signal).toBe('SIGUSR1');
    expect(kill(child)).toBe(false);
    expect(pidfdKill(pidfd, 0)).toBe(false);
    close(pidfd);
    expect(kill(child.pid, 0)).toBe(false);
    expect(() => pidfdOpen(child.pid)).toThrow(expect.objectContaining({ code: 'ESRCH', pid: child.pid }));
    expect(() => kill(process.pid, 'SIGNOPE' as NodeJS.Signals)).toThrow(TypeError);
    expect(() => kill(process.pid, 65)).toThrow(TypeError);
  });
});

describe('sigprocmask', () => {
  it('blocks and unblocks', async () => {
    const before = sigprocmask('set', []);
    expect(sigprocmask('block', ['SIGUSR2', 'SIGHUP'])).toEqual([]);
    expect(sigprocmask('unblock', ['SIGHUP'])).toEqual(['SIGHUP', 'SIGUSR2']);
    const received = once(process, 'SIGUSR2');
    let early = true;
    const seen = received.then(() => expect(early).toBe(false));
    process.kill(process.pid, 'SIGUSR2');
    await new Promise(setImmediate);
    early = false;
    expect(sigprocmask('set', before)).toEqual(['SIGUSR2']);
    await seen;
    expect(() => sigprocmask('sometimes' as 'block', [])).toThrow(TypeError);
  });
});

describe('daemonize', () => {
  it('starts a process in a session of its own that can be watched', async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, 'out');
    const fd = openSync(path, 'w');
    const script =
      'read pid comm state ppid pgrp session rest < /proc/$$/stat; echo $pid $(($session == $pid)); pwd; exit 3';
    const daemon = daemonize('/bin/sh', ['-c', script], { stdio: [null, fd, null], cwd: '/usr' });
    closeSync(fd);
    const ended = await new Promise((resolve) => watchExit(daemon.pid, resolve));
    expect(ended).toBeUndefined();
    expect(waitpid(daemon.pid, { noHang: true })).toBeUndefined();
    expect(readFileSync(path, 'utf8')).toBe(`${daemon.pid} 0\n/usr\n`);
    close(daemon.pidfd);
  });

  it('names the step that failed', () => {
    expect(() => daemonize('/nonexistent')).toThrow(
      expect.objectContaining({ code: 'ENOENT', syscall: 'execve' }),
    );
  });
});

describe('exec', () => {
  it('becomes another program with the same pid, children and descriptors', () => {
    const { stdout, status } = runAddonScript(`
      const [kept, other] = [addon.dup(1, 50), addon.dup(1, 60)];
      const script = \`
        const { fstatSync, writeSync } = require('fs');
        try { fstatSync(\${other}); } catch (error) { writeSync(\${kept}, process.pid + ' ' + error.code); }
        process.exit(4);
      \`;
      console.log(process.pid);
      addon.execve(process.execPath, ['node', '-e', script], env, [kept], []);
    `);
    const [before, after] = stdout.split('\n');
    expect(after).toBe(`${before} EBADF`);
    expect(status).toBe(4);
  });

  it('changes nothing when it fails', () => {
    const before = sigprocmask('block', []);
    expect(() => exec('/nonexistent', [], { blocked: ['SIGHUP'] })).toThrow(SystemError);
    expect(sigprocmask('block', [])).toEqual(before);
    expect(() => exec('/bin/true', [], { keepFds: [9999] })).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });
});

describe('adopted children', () => {
  it('are neither ours nor child_process’s', () => {
    expect(adoptedChildren()).toEqual([]);
    const { stdout } = runAddonScript(`
      addon.prctlSubreaper(true);
      const own = addon.spawn({ file: '/bin/sleep', args: ['sleep', '1000'], env, fds: [] });
      const foreign = require('child_process').spawn('/bin/sleep', ['1000']);
      const orphan = addon.daemonize({ file: '/bin/sleep', args: ['sleep', '1000'], env, fds: [], stdio: [-1, -1, -1] });
      const adopted = addon.adoptedChildren();
      console.log(adopted.length === 1 && adopted[0] === orphan.pid);
      addon.kill(orphan.pid, 9);
      console.log(addon.waitpid(orphan.pid, orphan.pidfd, false)[1], addon.adoptedChildren().length);
      addon.registerChild(orphan.pid);
      for (const pid of [own.pid, foreign.pid]) addon.kill(pid, 9);
      addon.waitpid(own.pid, own.pidfd, false);
      foreign.on('exit', (code, signal) => console.log(signal));
    `);
    expect(stdout).toBe('true\n9 0\nSIGKILL\n');
  });
});

describe('setsid', () => {
  it('refuses the leader of a group and makes one of any other', () => {
    const { stdout } = runAddonScript(`console.log(addon.setsid() === process.pid, addon.setsid())`);
    expect(stdout).toBe('true -1\n');
  });
});
