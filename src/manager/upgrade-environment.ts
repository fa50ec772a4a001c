/** How a manager tells its successor, over execve(2) or to the child that is tried first, what it is there for. */

/** `take-over`: go on as the manager. `check`: say whether that would work. */
export interface UpgradeTask {
  readonly kind: 'take-over' | 'check';
  /** of the state */
  readonly fd: number;
  /** numbers of those that are held back (native/sys/sigguard.h) */
  readonly signals: readonly number[];
  /** the successor failed after its exec, and this is its predecessor, who goes on: why it failed */
  readonly failure?: string;
}

const TAKE_OVER = 'PREFORK_UPGRADE';
const CHECK = 'PREFORK_UPGRADE_CHECK';
const FAILURE = 'PREFORK_UPGRADE_FAILED';
const SIGNALS = 'PREFORK_SIGNAL_GUARD';
const PRELOAD = 'LD_PRELOAD';
/** Longest reason that is passed on, in characters; a variable's end is at 128 KiB. */
const MAX_FAILURE = 2_000;

/** Variables for the task, in addition to `env`. guardFd: the addon's file, open in that process, to be preloaded. */
export function upgradeVariables(
  task: UpgradeTask,
  guardFd: number,
  env: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const ours = `/proc/self/fd/${guardFd}`;
  const former = env[PRELOAD];
  return {
    [task.kind === 'check' ? CHECK : TAKE_OVER]: `fd:${task.fd}`,
    [SIGNALS]: task.signals.join(','),
    [PRELOAD]: former ? `${ours}:${former}` : ours,
    ...(task.failure !== undefined && { [FAILURE]: task.failure.slice(0, MAX_FAILURE) }),
  };
}

/** The task of this process, or null; leaves `env` as it was before the upgrade, for nobody else to see. */
export function takeUpgradeTask(env: NodeJS.ProcessEnv = process.env): UpgradeTask | null {
  const kind = env[TAKE_OVER] !== undefined ? 'take-over' : env[CHECK] !== undefined ? 'check' : null;
  if (kind === null) return null;
  const fd = Number(/^fd:(\d+)$/.exec(env[kind === 'check' ? CHECK : TAKE_OVER] ?? '')?.[1] ?? -1);
  const signals = (env[SIGNALS] ?? '').split(',').map(Number);
  const failure = env[FAILURE];
  const [, ...former] = env[PRELOAD]?.split(':') ?? [];
  for (const name of [TAKE_OVER, CHECK, FAILURE, SIGNALS, PRELOAD]) delete env[name];
  if (former.length > 0) env[PRELOAD] = former.join(':');
  return { kind, fd, signals, ...(failure !== undefined && { failure }) };
}
