import { type ForkOptions, forkProcess, trackRandomness } from '../preload/fork';
import { addon } from './addon';
import { Child, forgetChildren } from './child';
import { forgetWatches } from './watch';

export type { ForkOptions };

// Libraries fill their pools when they are loaded, long before a fork.
trackRandomness();

/**
 * fork(2) of this process, without exec: the child goes on from here with a copy of everything, all of Node's threads included,
 * sharing memory with this process until either writes to it. Both processes have the same JavaScript ahead of them: what is
 * scheduled already (timers, promises) happens in both.
 *
 * In the child `process.pid` is its own, random generators (crypto's, Math.random, the pools that libraries filled through
 * `getRandomValues` or `randomFillSync` since `prefork/posix` was loaded) give other values, and children, watches and
 * signals that were sent to the parent are not its own. It exits as any process does. Callbacks of `beforeFork` run in the parent before, those of
 * `afterFork` in the child; what they return is not waited for.
 *
 * @returns the child's pid in this process, for {@link waitpid} and {@link watchExit}; 0 in the child
 * @throws PreforkError `ERR_PREFORK_FORK_UNSUPPORTED`: not possible here, with the reason;
 *   `ERR_PREFORK_FORK_UNSAFE`: open sockets that do not listen, pipes, files that are not open for append, work under way in the thread pool, other
 *   threads of JavaScript, the inspector: all that is in the way is named
 * @throws SystemError `EAGAIN`, `ENOMEM`: the operating system refused, a limit of processes most likely
 * @platform Linux with glibc, x64; arm64 untested
 * @see fork(2), clone(2)
 */
export function fork(options: ForkOptions = {}): number {
  const pid = forkProcess(options);
  if (pid === 0) {
    forgetWatches();
    forgetChildren();
  } else {
    new Child(pid, Math.max(-1, addon().pidfdOpen(pid)));
  }
  return pid;
}
