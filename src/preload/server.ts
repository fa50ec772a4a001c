/** The process that loads the program once, freezes before it listens, and is forked for each worker. */
import { AsyncResource } from 'node:async_hooks';
import v8 from 'node:v8';
import vm from 'node:vm';
import type { Binding, NativeMessage } from '../engine/binding';
import type { Channel } from '../worker/channel';
// For the workers, which find it loaded.
import '../worker/vitals';
import { install as installWorker } from '../worker/install';
import { LastWords } from '../worker/lastWords';
import { intercept } from '../worker/processEvents';
import { getRuntime, setRuntime } from '../worker/runtime';
import { flushTaggedOutput, tagOutput } from '../worker/taggedOutput';
import { repairChild } from './after-fork';
import { DeferredRuntime } from './deferred-runtime';
import { forkRefusal, randomState } from './fork';
import { hasForkCallbacks, onForkPoint, runAfterFork, runBeforeFork } from './hooks';
import { NotedCalls } from './noted-calls';
import { Origins } from './origins';
import { place, settleEnvironment } from './placement';
import {
  FORKSERVER_VERSION,
  type ForkCommand,
  type ForkserverBoot,
  type ForkserverMessage,
} from './protocol';
import { describeFinding, examine, type Finding } from './safety';
import { findWarmup } from './warmup';

const SIGKILL = 9;
const ANY_SLEEP = 1;
const ADVICE =
  'close it in beforeFork() and open it in afterFork() of prefork/worker, open it after listen(), or use --fork-safety warn';

export class Forkserver {
  readonly #binding: Binding;
  readonly #boot: ForkserverBoot;
  /** the descriptor of the channel to the manager, and the last that it was started with */
  readonly #channel: number;
  readonly #environment = { ...process.env };
  readonly #origins = new Origins();
  readonly #calls = new NotedCalls(() => this.#arm());
  readonly #runtime = new DeferredRuntime(Number(process.env.PREFORK_GENERATION ?? 0));
  /** what is done here does not belong to the program's call that it is done in */
  readonly #context = new AsyncResource('PREFORK_FORKSERVER');
  /** resolves what forkPoint() gave to the program */
  readonly #passForkPoint: (() => void)[] = [];
  #busyTimer: NodeJS.Timeout | undefined;
  #armed = false;
  /** in a worker: nothing that was set up here for the forkserver applies */
  #forked = false;

  constructor(binding: Binding, boot: ForkserverBoot, channel: number) {
    this.#binding = binding;
    this.#boot = boot;
    this.#channel = channel;
  }

  /** Before the program runs. */
  start(): void {
    this.#send({ type: 'forkserver', pid: process.pid });
    const refusal = forkRefusal();
    if (refusal !== null) refuse(`this process cannot be forked: ${refusal}`);
    if (this.#boot.tagOutput !== undefined) {
      const { generation } = this.#runtime;
      tagOutput(this.#boot.tagOutput, { slot: null, pid: process.pid, generation });
    }
    this.#watchEnd();
    this.#origins.start();
    this.#calls.install();
    setRuntime(this.#runtime);
    // Node binds a signal to process.emit as it is when the program asks for it; the worker's hook needs its own.
    intercept('SIGTERM', () => false);
    onForkPoint(() => {
      this.#arm();
      return new Promise((resolve) => this.#passForkPoint.push(resolve));
    });
    if (this.#boot.until === 'idle') this.#arm();
  }

  #arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    this.#busyTimer = setTimeout(() => this.#reportBusy(), this.#boot.busyAfterMs).unref();
    this.#context.runInAsyncScope(() => void this.#settle());
  }

  /** A failure is the program's: it ends the process as an unhandled rejection does. */
  async #settle(): Promise<void> {
    await this.#idle();
    const warmup = await findWarmup(this.#boot.warmup);
    await warmup?.();
    // Looking for it may have read files.
    await this.#idle();
    if (hasForkCallbacks('before')) {
      await runBeforeFork();
      await this.#idle();
    }
    await this.#freeze();
  }

  /** Resolves when the event loop is about to block and nothing is under way. */
  #idle(): Promise<void> {
    return new Promise((resolve, reject) => {
      const watch = this.#binding.watchIdle(() => {
        if (typeof watch === 'object') watch.stop();
        resolve();
      });
      if (typeof watch === 'number') reject(new Error(`cannot watch the event loop: errno ${-watch}`));
      // The loop may be past the place where it looks.
      setImmediate(() => {});
    });
  }

  /** In this process it never returns. */
  async #freeze(): Promise<void> {
    clearTimeout(this.#busyTimer);
    // Every worker would begin with it.
    flushTaggedOutput();
    const findings = this.#examine();
    this.#origins.stop();
    const problems = describeAll(findings, 'unsafe');
    const refused = problems.length > 0 && this.#boot.safety === 'refuse';
    if (problems.length > 0) this.#send({ type: 'unsafe', problems, refused });
    if (refused) refuse(...problems, ADVICE);
    collectGarbage(this.#binding);
    randomState(this.#binding).drain();
    this.#send({
      type: 'frozen',
      listens: this.#calls.describe(),
      notes: describeAll(findings, 'note'),
      rssBytes: process.memoryUsage.rss(),
    });
    const flags = this.#boot.safety === 'warn' ? ANY_SLEEP : 0;
    const served = this.#binding.serveForks(this.#channel, flags, this.#boot.dieWithManager ? SIGKILL : 0);
    if (typeof served === 'number') this.#binding.exitNow(served === 0 ? 0 : 1);
    else await this.#becomeWorker(served);
  }

  async #becomeWorker(message: NativeMessage): Promise<void> {
    this.#forked = true;
    const command = JSON.parse(message.data.toString()) as ForkCommand;
    if (command.v !== FORKSERVER_VERSION)
      throw new Error(`unknown version ${command.v} of the forkserver's protocol`);
    // First: the number of the forkserver's channel is free, and must not be taken by anything else.
    const moved = place(this.#binding, message.fds, command.fds, this.#channel);
    repairChild(this.#binding, randomState(this.#binding));
    this.#applyEnvironment(settleEnvironment(command.env, moved));
    const { PREFORK_WORKER, PREFORK_CHANNEL } = process.env;
    delete process.env.PREFORK_WORKER;
    delete process.env.PREFORK_CHANNEL;
    this.#calls.stop();
    if (PREFORK_WORKER !== undefined) installWorker(PREFORK_WORKER, PREFORK_CHANNEL ?? '');
    const runtime = getRuntime();
    if (runtime !== undefined && runtime !== this.#runtime) this.#runtime.replay(runtime);
    onForkPoint(undefined);
    if (hasForkCallbacks('after')) await runAfterFork();
    this.#calls.replay();
    for (const pass of this.#passForkPoint) pass();
    // Once the servers listen.
    setImmediate(() => setImmediate(() => this.#binding.learnHotPages()));
  }

  /** What the manager gives anew; what the program has changed by itself stays. */
  #applyEnvironment(env: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(env)) {
      if (this.#environment[name] !== value) process.env[name] = value;
    }
    for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) {
      if (env[name] === undefined) delete process.env[name];
    }
  }

  #examine(): Finding[] {
    return examine({ binding: this.#binding, origins: this.#origins, shared: [this.#channel] });
  }

  #reportBusy(): void {
    const findings = this.#examine();
    const problems = describeAll(findings, 'unsafe');
    this.#send({ type: 'busy', problems: problems.length > 0 ? problems : describeAll(findings, 'note') });
  }

  #watchEnd(): void {
    process.on('exit', (code) => {
      if (!this.#forked) this.#send({ type: 'ended', code });
    });
    const sendNow: Channel['sendNow'] = (message) => !this.#forked && this.#send(message);
    const channel: Channel = { send: sendNow, sendNow, ask: () => {}, setRef: () => {} };
    new LastWords(channel, () => false).install();
  }

  /** The manager reads at once or is gone; what does not fit is dropped. */
  #send(message: ForkserverMessage | Parameters<Channel['send']>[0]): boolean {
    return this.#binding.sendMessage(this.#channel, Buffer.from(JSON.stringify(message)), []) >= 0;
  }
}

function refuse(...lines: readonly string[]): never {
  for (const line of lines) process.stderr.write(`prefork: --preload: ${line}\n`);
  process.exit(1);
}

function describeAll(findings: readonly Finding[], severity: Finding['severity']): string[] {
  return findings.filter((finding) => finding.severity === severity).map(describeFinding);
}

/**
 * What is garbage here would be copied by every worker that collects it; and so would be the young generation, which loading a
 * program has made large, page by page as each worker allocates. Code that has run in the warm-up stays.
 */
function collectGarbage(binding: Binding): void {
  v8.setFlagsFromString('--no-flush-bytecode');
  const reduced = binding.reduceHeap();
  v8.setFlagsFromString('--flush-bytecode');
  if (reduced) return;
  v8.setFlagsFromString('--expose-gc');
  const collect: unknown = vm.runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  if (typeof collect === 'function') collect();
}
