import { describe, expect, test } from 'vitest';
import { fixture, jsonLines, nodes, run } from './run';

interface Attempt {
  exitCode?: number;
  name?: string;
  code?: string;
  message?: string;
}

const forked: Attempt = { exitCode: 5 };
const unsafe = (message: RegExp): Attempt => ({
  name: 'PreforkError',
  code: 'ERR_PREFORK_FORK_UNSAFE',
  message: expect.stringMatching(message) as string,
});

describe.each(nodes)('fork() in %s', (node) => {
  test.each<[string, string, Attempt[]]>([
    ['goes well', 'nothing', [forked]],
    ['shares listening sockets', 'listening', [forked]],
    [
      'refuses with a connected socket',
      'socket',
      [unsafe(/^not safe to fork: an open TCP socket, local address 127\.0\.0\.1:\d+ \(descriptor \d+\)/)],
    ],
    ['shares what it is told to', 'shared', [forked, unsafe(/an open Unix socket .*; an open Unix socket/)]],
    [
      'refuses with an open file, unless it is to warn only',
      'file',
      [unsafe(/an open file, .*refusals\.cjs/), forked, forked],
    ],
    ['shares files open for append', 'append', [forked]],
    ['refuses while a file is read', 'request', [unsafe(/1 operation under way/), forked]],
    ['refuses while the thread pool hashes', 'hash', [unsafe(/1 operation under way/), forked]],
    ['refuses with pipes to a child', 'child', [unsafe(/an open (pipe|Unix socket)/), forked]],
    ['refuses with a thread', 'thread', [unsafe(/1 thread with an event loop/), forked]],
    [
      'refuses in a thread',
      'inThread',
      [
        {
          name: 'PreforkError',
          code: 'ERR_PREFORK_FORK_UNSUPPORTED',
          message: 'cannot fork here: only the main thread can fork',
        },
      ],
    ],
    ['refuses with the inspector open', 'inspector', [unsafe(/the inspector, which listens on ws:\/\/127/)]],
    ['calls beforeFork and afterFork', 'hooks', [{ exitCode: 6 }]],
  ])('%s', async (_, name, attempts) => {
    const { stdout, stderr, code } = await run(node, [fixture('refusals.cjs'), name]);
    expect(jsonLines(stdout)).toEqual(attempts);
    expect(code).toBe(0);
    const warnings = stderr.replace(/^(Debugger|For help|\(Use ).*\n/gm, '');
    if (name === 'file') expect(warnings).toMatch(/PreforkForkWarning: forked with an open file/);
    else expect(warnings).toBe('');
  });
});
