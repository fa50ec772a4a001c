import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Server, connect } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  addSeals,
  channelPair,
  clearCloexec,
  close,
  dup,
  dup2,
  features,
  flock,
  listen,
  memfd,
  mmap,
  peercred,
  recvFd,
  recvMessage,
  sendFd,
  sendMessage,
  setCloexec,
  sockname,
  spawn,
  waitpid,
} from '../../src/posix';
import { runAddonScript, temporaryDirectory } from '../helpers/posix';

const code = (name: string) => expect.objectContaining({ name: 'SystemError', code: name });
const isCloexec = (fd: number) =>
  (Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8) &
    0o2000000) !==
  0;

describe('descriptors', () => {
  it('have flags, copies and an end', () => {
    const fd = dup(0, 100);
    expect(fd).toBeGreaterThanOrEqual(100);
    expect(isCloexec(fd)).toBe(true);
    clearCloexec(fd);
    expect(isCloexec(fd)).toBe(false);
    setCloexec(fd);
    expect(isCloexec(fd)).toBe(true);
    expect(dup2(1, fd)).toBe(fd);
    expect(fstatSync(fd).ino).toBe(fstatSync(1).ino);
    close(fd);
    for (const action of [() => close(fd), () => setCloexec(fd), () => dup(fd), () => dup2(fd, 5)]) {
      expect(action).toThrow(code('EBADF'));
    }
  });

  it('are locked by their open file', () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, 'lock');
    const [a, b] = [openSync(path, 'w'), openSync(path, 'w')] as const;
    expect(flock(a, 'ex')).toBe(true);
    expect(flock(b, 'ex', { noHang: true })).toBe(false);
    expect(flock(b, 'sh', { noHang: true })).toBe(false);
    expect(flock(a, 'un')).toBe(true);
    expect(flock(b, 'sh', { noHang: true })).toBe(true);
    expect(() => flock(a, 'no' as 'ex')).toThrow(TypeError);
    closeSync(a);
    closeSync(b);
  });
});

describe('listen', () => {
  it('opens sockets that net serves on', async () => {
    const fd = listen({ kind: 'tcp', address: '127.0.0.1', port: 0 });
    const name = sockname(fd);
    expect(name).toMatchObject({ family: 'IPv4', type: 'stream', address: '127.0.0.1', listening: true });
    expect(isCloexec(fd)).toBe(true);
    const server = new Server((socket) => socket.end('hello')).listen({ fd });
    await once(server, 'listening');
    const [data] = await once(connect(name.port, '127.0.0.1'), 'data');
    expect(String(data)).toBe('hello');
    expect(() => listen({ kind: 'tcp', address: '127.0.0.1', port: name.port })).toThrow(
      "EADDRINUSE: address already in use, listen '127.0.0.1:",
    );
    server.close();
    await once(server, 'close');
  });

  it('knows IPv6, UDP and shared ports', () => {
    const udp = listen({ kind: 'udp', address: '127.0.0.1', port: 0 });
    expect(sockname(udp)).toMatchObject({ type: 'dgram', listening: false });
    const first = listen({ kind: 'tcp', address: '127.0.0.1', port: 0, reusePort: true });
    const second = listen({ kind: 'tcp', address: '127.0.0.1', port: sockname(first).port, reusePort: true });
    const six = listen({ kind: 'tcp', address: '::1', port: 0, ipv6Only: true });
    expect(sockname(six)).toMatchObject({ family: 'IPv6', address: '::1' });
    for (const fd of [udp, first, second, six]) close(fd);
  });

  it('says what is wrong with an address', () => {
    expect(() => listen({ kind: 'tcp', address: 'localhost', port: 0 })).toThrow(code('EINVAL'));
    expect(() => listen({ kind: 'tcp', address: '192.0.2.1', port: 0 })).toThrow(code('EADDRNOTAVAIL'));
    expect(() => listen({ kind: 'tcp', address: '127.0.0.1', port: 70_000 })).toThrow(TypeError);
    expect(() => listen({ kind: 'sctp' as 'tcp', address: '127.0.0.1', port: 0 })).toThrow(TypeError);
    expect(() => listen({ kind: 'unix', address: `/tmp/${'x'.repeat(200)}` })).toThrow(code('ENAMETOOLONG'));
    expect(() => listen({ kind: 'unix', address: '/tmp/a\0b' })).toThrow(TypeError);
  });

  it('replaces a stale Unix socket, never a live one, never another file', () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, 's');
    const first = listen({ kind: 'unix', address: path, mode: 0o640 });
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(sockname(first)).toMatchObject({ family: 'unix', address: path, listening: true });
    expect(() => listen({ kind: 'unix', address: path })).toThrow(code('EADDRINUSE'));
    close(first);
    expect(existsSync(path)).toBe(true);
    close(listen({ kind: 'unix', address: path }));
    const file = join(directory.path, 'file');
    writeFileSync(file, 'kept');
    expect(() => listen({ kind: 'unix', address: file })).toThrow(code('ENOTSOCK'));
    expect(readFileSync(file, 'utf8')).toBe('kept');
  });
});

describe('a channel', () => {
  it('carries packets and descriptors, and says when the peer is gone', () => {
    const [a, b] = channelPair();
    expect(recvMessage(b)).toBeNull();
    expect(recvMessage(b, { timeoutMs: 1 })).toBeNull();
    expect(sendMessage(a, Buffer.from('one'), [0])).toBe(true);
    expect(sendMessage(a, Buffer.from('two'))).toBe(true);
    const message = recvMessage(b);
    expect(message?.data.toString()).toBe('one');
    expect(message?.fds.map(isCloexec)).toEqual([true]);
    for (const fd of message?.fds ?? []) close(fd);
    expect(recvMessage(b)).toMatchObject({ fds: [] });
    expect(() => sendMessage(a, new Uint8Array(0))).toThrow(code('EINVAL'));
    expect(() => sendMessage(a, 'text' as unknown as Uint8Array)).toThrow(TypeError);
    expect(peercred(a)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
    close(b);
    expect(recvMessage(a)).toBeUndefined();
    expect(recvFd(a)).toBeUndefined();
    expect(() => sendMessage(a, Buffer.from('x'))).toThrow(code('EPIPE'));
    close(a);
  });

  it('fills up without blocking', () => {
    const [a, b] = channelPair();
    let sent = 0;
    while (sendMessage(a, Buffer.alloc(1000))) sent++;
    expect(sent).toBeGreaterThan(0);
    expect(recvMessage(b, { maxBytes: 1000 })?.data).toHaveLength(1000);
    expect(() => recvMessage(b, { maxBytes: 10 })).toThrow(code('EMSGSIZE'));
    close(a);
    close(b);
  });

  it('hands a descriptor to another process', () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, 'out');
    const [a, b] = channelPair();
    const fd = openSync(path, 'w');
    expect(sendFd(a, fd)).toBe(true);
    closeSync(fd);
    const received = recvFd(b) as number;
    const child = spawn('/bin/echo', ['hello'], { stdio: [null, received, null] });
    expect(waitpid(child)?.exitCode).toBe(0);
    expect(readFileSync(path, 'utf8')).toBe('hello\n');
    for (const open of [received, a, b]) close(open);
  });
});

describe('shared memory', () => {
  it('is seen through every mapping and cannot be cut once sealed', () => {
    const fd = memfd('test', 8192);
    addSeals(fd, ['shrink', 'grow', 'seal']);
    const [a, b] = [
      new Uint8Array(mmap(fd, 0, 8192, true)),
      new Uint8Array(mmap(fd, 4096, 4096, false)),
    ] as const;
    a[4096] = 42;
    expect(b[0]).toBe(42);
    expect(() => addSeals(fd, ['write'])).toThrow(code('EPERM'));
    expect(() => addSeals(fd, ['all' as 'seal'])).toThrow(TypeError);
    expect(() => mmap(fd, 0, 8193, true)).toThrow(code('ENXIO'));
    expect(() => mmap(fd, 1, 10, true)).toThrow(code('EINVAL'));
    close(fd);
    a[0] = 1;
    expect(a[0]).toBe(1);
  });

  it('is unmapped when it is collected', () => {
    const { stdout } = runAddonScript(`
      require('v8').setFlagsFromString('--expose-gc');
      const gc = require('vm').runInNewContext('gc');
      const fd = addon.memfd('collected', 4096);
      const count = () => require('fs').readFileSync('/proc/self/maps', 'utf8').split('memfd:collected').length - 1;
      let buffers = Array.from({ length: 10 }, () => addon.mmap(fd, 0, 4096, true));
      console.log(count());
      buffers = null;
      const until = (turns) => {
        gc();
        if (count() === 0 || turns === 0) console.log(count());
        else setImmediate(until, turns - 1);
      };
      setImmediate(until, 100);
    `);
    expect(stdout).toBe('10\n0\n');
  });
});

describe('features', () => {
  it('are what this kernel has', () => {
    expect(features()).toMatchObject({ pidfd: true, memfd: true, platform: 'linux' });
  });
});
