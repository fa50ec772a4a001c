/** The other side of an upgrade: what a process does that a manager became by execve(2), and the child that was tried before. */
import { closeSync } from 'node:fs';
import { version } from '../cli/version';
import { type Binding, loadBinding } from '../engine/binding';
import { nowMs } from '../engine/clock';
import { errnoCode, errnoText } from '../engine/errno';
import { describe } from '../errors';
import { checkSchema, type Handover, readHandover } from './handover';
import type { Log } from './log';
import type { Manager } from './manager';
import { CHECK_PASSED, commandLine, environmentLines } from './upgrade';
import { type UpgradeTask, upgradeVariables } from './upgrade-environment';

/** EX_SOFTWARE of sysexits.h: no manager could be made of this process any more. */
const EXIT_LOST = 70;

/** Does what the former manager asked for. Resolves to the exit code. */
export function runUpgradeTask(task: UpgradeTask): Promise<number> {
  return task.kind === 'check' ? check(task) : takeOver(task);
}

/** Everything that a take-over needs and that does not disturb the manager that runs. */
async function check({ fd, signals }: UpgradeTask): Promise<number> {
  try {
    const handover = readHandover(fd);
    checkSchema(handover);
    const binding = addon();
    require('./run');
    // The addon was to be preloaded: all must be blocked still, whatever Node did at its start.
    const blocked = binding.sigprocmask(0, []);
    if (!Array.isArray(blocked) || !signals.every((signal) => blocked.includes(signal))) {
      throw new Error('signals cannot be held back: the addon was not preloaded (LD_PRELOAD)');
    }
    process.stdout.write(`${CHECK_PASSED}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`prefork: version ${version()}: ${describe(error)}\n`);
    return 1;
  }
}

async function takeOver(task: UpgradeTask): Promise<number> {
  let resumed: { manager: Manager; log: Log; finish(): void };
  let handover: Handover | undefined;
  try {
    handover = readHandover(task.fd);
    checkSchema(handover);
    const { resumeManager } = require('./run') as typeof import('./run');
    resumed = resumeManager(handover);
  } catch (error) {
    process.stderr.write(`prefork: version ${version()} cannot take over: ${describe(error)}\n`);
    return handover === undefined ? EXIT_LOST : giveBack(task, handover, describe(error));
  }
  const { manager, log, finish } = resumed;
  try {
    // From its first turn on it listens to signals.
    const ended = manager.run();
    letGo(task.fd, handover);
    tell(log, handover, task.failure);
    return await ended;
  } finally {
    finish();
  }
}

function tell(log: Log, { former, engine, atMs }: Handover, failure: string | undefined): void {
  const afterMs = Math.round(nowMs() - atMs);
  const workers = engine.children.length;
  if (failure !== undefined) {
    const event = 'upgrade-failed';
    log.error({ event, reason: failure }, `the upgrade failed, version ${version()} is back: ${failure}`);
    return;
  }
  const fields = {
    event: 'upgraded',
    from: former.version,
    to: version(),
    workers,
    afterMs,
    pid: process.pid,
  };
  log.info(fields, `manager ${process.pid} was replaced in ${afterMs} ms (${former.version} → ${version()})`);
}

/** What was of use for the way only; then the signals that waited. */
function letGo(fd: number, { fds, guardFd }: Handover): void {
  const binding = addon();
  for (const kept of fds) if (kept !== guardFd) binding.setCloexec(kept);
  closeSync(guardFd);
  closeSync(fd);
  binding.releaseSignals();
}

/** Back to the program that this process was, which has its state and its descriptors still. Returns where that fails, too. */
function giveBack(task: UpgradeTask, handover: Handover, failure: string): number {
  const { former, fds, guardFd } = handover;
  if (task.failure !== undefined) return EXIT_LOST;
  const { fd, signals } = task;
  const variables = upgradeVariables({ kind: 'take-over', fd, signals, failure }, guardFd);
  const error = addon().execve(
    former.execPath,
    commandLine(former, former.scriptFile),
    environmentLines({ ...process.env, ...variables }),
    [fd, ...fds],
    signals,
  );
  process.stderr.write(
    `prefork: cannot go back to version ${former.version}: ${errnoText(errnoCode(error))}\n`,
  );
  return EXIT_LOST;
}

function addon(): Binding {
  const { binding, reason } = loadBinding();
  if (binding === null) throw new Error(`the addon does not load: ${reason}`);
  return binding;
}
