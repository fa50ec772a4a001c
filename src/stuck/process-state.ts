/** What the kernel says about a process that does not answer: proc(5). Linux; elsewhere everything is null. */
import { readdirSync, readlinkSync } from 'node:fs';
import { readText } from '../manager/read-text';

const SIGUSR1 = 10;

/** Numbers of those that a main thread is found blocked in. */
const SYSCALLS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  x64: {
    0: 'read',
    1: 'write',
    7: 'poll',
    17: 'pread64',
    18: 'pwrite64',
    19: 'readv',
    20: 'writev',
    23: 'select',
    34: 'pause',
    35: 'nanosleep',
    42: 'connect',
    43: 'accept',
    44: 'sendto',
    45: 'recvfrom',
    46: 'sendmsg',
    47: 'recvmsg',
    61: 'wait4',
    72: 'fcntl',
    73: 'flock',
    74: 'fsync',
    75: 'fdatasync',
    2: 'open',
    202: 'futex',
    230: 'clock_nanosleep',
    232: 'epoll_wait',
    247: 'waitid',
    257: 'openat',
    270: 'pselect6',
    271: 'ppoll',
    281: 'epoll_pwait',
    288: 'accept4',
    295: 'preadv',
    296: 'pwritev',
    262: 'newfstatat',
    332: 'statx',
    441: 'epoll_pwait2',
  },
  arm64: {
    22: 'epoll_pwait',
    25: 'fcntl',
    32: 'flock',
    56: 'openat',
    63: 'read',
    64: 'write',
    65: 'readv',
    66: 'writev',
    67: 'pread64',
    68: 'pwrite64',
    69: 'preadv',
    70: 'pwritev',
    72: 'pselect6',
    73: 'ppoll',
    79: 'newfstatat',
    82: 'fsync',
    83: 'fdatasync',
    95: 'waitid',
    98: 'futex',
    101: 'nanosleep',
    115: 'clock_nanosleep',
    202: 'accept',
    203: 'connect',
    206: 'sendto',
    207: 'recvfrom',
    211: 'sendmsg',
    212: 'recvmsg',
    242: 'accept4',
    260: 'wait4',
    291: 'statx',
    441: 'epoll_pwait2',
  },
};

/** Those whose first argument is a descriptor. */
const ON_DESCRIPTOR =
  /^(read|write|pread64|pwrite64|readv|writev|preadv|pwritev|connect|accept4?|sendto|sendmsg|recvfrom|recvmsg|fcntl|flock|fsync|fdatasync)$/;

/** `R` runs, `S` and `D` wait in the kernel, `T` is stopped by a signal, `t` by a debugger, `Z` has ended. null: not to be had. */
export function processState(pid: number): string | null {
  return /^\d+ \(.*\) (\w)/s.exec(readText(`/proc/${pid}/stat`))?.[1] ?? null;
}

/**
 * The system call that the main thread waits in, as `read(2) of descriptor 17 (/tmp/fifo)`. null: in none, or it may not be
 * seen (other user, hidepid).
 */
export function waitingIn(pid: number): string | null {
  const [number, first] = readText(`/proc/${pid}/syscall`).trim().split(' ');
  if (number === 'running' || number === '-1') return null;
  if (number === undefined || number === '') return kernelFunction(pid);
  const name = SYSCALLS[process.arch]?.[Number(number)];
  if (name === undefined) return `system call ${number}`;
  if (!ON_DESCRIPTOR.test(name)) return `${name}(2)`;
  const fd = Number(first);
  const target = linkOf(`/proc/${pid}/fd/${fd}`);
  return `${name}(2) of descriptor ${fd}${target === null ? '' : ` (${target})`}`;
}

function kernelFunction(pid: number): string | null {
  const name = readText(`/proc/${pid}/wchan`).trim();
  return name === '' || name === '0' ? null : `the kernel (${name})`;
}

/** Grows with everything that the main thread does: unchanged, it has waited all the while. null: not to be had. */
export function activity(pid: number): string | null {
  const status = readText(`/proc/${pid}/task/${pid}/status`);
  const switches = status.match(/^\w*ctxt_switches:\t\d+$/gm);
  return switches === null ? null : switches.join(' ');
}

/** Whether the process has a handler for SIGUSR1: Node's own, or the program's. Without one the signal would end it. */
export function catchesUsr1(pid: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readText(`/proc/${pid}/status`))?.[1];
  return mask !== undefined && (BigInt(`0x${mask}`) & (1n << BigInt(SIGUSR1 - 1))) !== 0n;
}

/** Ports on 127.0.0.1 on which that process listens. */
export function loopbackPorts(pid: number): number[] {
  const own = new Set<string>();
  for (const fd of entries(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`) ?? '')?.[1];
    if (inode !== undefined) own.add(inode);
  }
  const ports: number[] = [];
  for (const line of readText(`/proc/${pid}/net/tcp`).split('\n')) {
    const [, address, , state, , , , , , inode] = line.trim().split(/\s+/);
    const [host, port] = address?.split(':') ?? [];
    // The words are in the byte order of the machine: little-endian wherever prefork runs.
    if (host === '0100007F' && state === '0A' && own.has(inode ?? '')) ports.push(Number.parseInt(port!, 16));
  }
  return ports;
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
