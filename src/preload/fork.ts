/** fork(2) of this process, with everything that must be put right in the child. */
import { constants } from 'node:os';
import { type Binding, loadBinding } from '../engine/binding';
import { preforkError } from '../errors';
import { SystemError } from '../system-error';
import { repairChild } from './after-fork';
import { startForkCallbacks } from './hooks';
import { RandomState } from './random';
import { describeFinding, examine } from './safety';

export interface ForkOptions {
  /** `warn`: what is unsafe is printed to stderr, and the fork goes on. 'refuse' by default */
  safety?: 'refuse' | 'warn';
  /** descriptors that parent and child are meant to share, and that are therefore safe */
  share?: readonly number[];
  /** sent to the child when this process ends, however it does, PR_SET_PDEATHSIG; none by default */
  deathSignal?: NodeJS.Signals;
}

const ANY_SLEEP = 1;

let random: RandomState | undefined;

/** The random state of this process, tracked from the first call on. */
export function randomState(binding: Binding): RandomState {
  random ??= new RandomState(binding);
  random.track();
  return random;
}

/** As early as possible, where a fork may come. */
export function trackRandomness(): void {
  const { binding } = loadBinding();
  if (binding?.forkSupport().ok) randomState(binding);
}

/** Why this process can never fork, in one line; null where it can. */
export function forkRefusal(): string | null {
  const { binding, reason } = loadBinding();
  if (binding === null) return `the addon did not load (${reason})`;
  const support = binding.forkSupport();
  if (!support.ok) return support.reason;
  if ((process.chdir as { disabled?: boolean }).disabled === true) return 'only the main thread can fork';
  return randomState(binding).supported ? null : 'Math.random of this V8 cannot be seeded anew';
}

/** What {@link forkRefusal} found, thrown; the addon otherwise. */
export function forkableBinding(): Binding {
  const refusal = forkRefusal();
  const { binding } = loadBinding();
  if (refusal !== null || binding === null) {
    throw preforkError('ERR_PREFORK_FORK_UNSUPPORTED', { reason: refusal ?? '' });
  }
  return binding;
}

/** 0 in the child, its pid in the parent. */
export function forkProcess(options: ForkOptions = {}): number {
  const { safety = 'refuse', share = [], deathSignal } = options;
  const binding = forkableBinding();
  const state = randomState(binding);
  startForkCallbacks('before');
  checkSafety(binding, safety, share);
  state.drain();
  const pid = binding.fork(
    safety === 'warn' ? ANY_SLEEP : 0,
    deathSignal === undefined ? 0 : constants.signals[deathSignal],
  );
  if (pid < 0) throw forkError(binding, pid);
  if (pid > 0) return pid;
  repairChild(binding, state);
  startForkCallbacks('after');
  return 0;
}

function checkSafety(binding: Binding, safety: 'refuse' | 'warn', shared: readonly number[]): void {
  const unsafe = examine({ binding, shared }).filter(({ severity }) => severity === 'unsafe');
  if (unsafe.length === 0) return;
  const problems = unsafe.map(describeFinding);
  if (safety === 'refuse') throw preforkError('ERR_PREFORK_FORK_UNSAFE', { problems });
  for (const problem of problems) process.emitWarning(`forked with ${problem}`, 'PreforkForkWarning');
}

/** A thread that does not come to rest is in the way; all else is the operating system's refusal. */
function forkError(binding: Binding, errno: number): Error {
  const failure = binding.forkFailure();
  if (failure.step !== 'threads') return new SystemError(errno, failure.step || 'fork');
  return preforkError('ERR_PREFORK_FORK_UNSAFE', { problems: [describeThread(failure, errno)] });
}

/** The thread that a failure of the step 'threads' names. */
export function describeThread(
  failure: { thread: string; tid: number; syscall: number },
  errno: number,
): string {
  const name = `thread ${failure.tid} (${failure.thread})`;
  if (failure.tid === 0) return `threads cannot be held (errno ${-errno})`;
  if (errno === -constants.errno.ENOTSUP) return `${name}, which blocks signals and is not one of Node's`;
  return failure.syscall < 0
    ? `${name}, which is busy`
    : `${name}, which waits in system call ${failure.syscall}`;
}
