/** `prefork run` once more, in the background: a session of its own, no terminal, what it prints goes to the log file. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Binding, loadBinding } from '../engine/binding';
import { errnoCode, errnoText, signalNumber } from '../engine/errno';
import { exitCodes, preforkError } from '../errors';
import type { Invocation, RunOptions } from '../options/load';
import { longFlag, type OptionName } from '../options/schema';
import { MAX_REPORT_BYTES, type Outcome, parseOutcome, REPORT_VARIABLE } from './start-report';

const CLI = join(__dirname, '..', 'cli', 'prefork.js');
/** Where the manager finds the socket to report on. */
const REPORT_FD = 3;
const LOG_FILE_MODE = 0o640;
/** What a terminal and whoever ends a session send. */
const PASSED_ON: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Starts a manager in the background and waits until its first generation is ready, or it has given up.
 * Throws `ERR_PREFORK_OPTION_CONFLICT` where that cannot be.
 */
export async function startDaemon(options: RunOptions): Promise<Outcome> {
  const log = openSync(checkBackground(options), 'a', LOG_FILE_MODE);
  const { execPath, execArgv, env } = process;
  const args = [...execArgv, CLI, ...runArguments(options.invocation)];
  try {
    return await startProgram({ file: execPath, args, env, log });
  } finally {
    closeSync(log);
  }
}

/** Starts a Node.js program in the background, and waits for its {@link StartReport}. */
export function startProgram(program: Program): Promise<Outcome> {
  const { binding } = loadBinding();
  const reporting = { ...program, env: { ...program.env, [REPORT_VARIABLE]: String(REPORT_FD) } };
  return binding === null ? startDetached(reporting) : startNative(reporting, binding);
}

export interface Program {
  readonly file: string;
  /** without argv[0] */
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** the descriptor that standard output and error go to */
  readonly log: number;
}

/** The log file. Throws `ERR_PREFORK_OPTION_CONFLICT` where these options are for the foreground only. */
export function checkBackground({ logFile, bind }: RunOptions): string {
  const inherited = bind.find(({ kind }) => kind === 'fd' || kind === 'systemd');
  if (inherited !== undefined) {
    const name = inherited.kind === 'fd' ? `fd:${inherited.fd}` : 'systemd';
    throw conflict(
      `--bind ${name} is for prefork run in the foreground: a parent that passes sockets watches it`,
    );
  }
  if (logFile === null) {
    throw conflict('a manager in the background needs --log-file, since there is no terminal to print to');
  }
  return logFile;
}

const conflict = (problem: string): Error => preforkError('ERR_PREFORK_OPTION_CONFLICT', { problem });

/** The command line of the same invocation in the foreground. */
export function runArguments({ given, entry, args }: Invocation): string[] {
  const line = ['run'];
  for (const [name, value] of Object.entries(given) as [OptionName, boolean | string | readonly string[]][]) {
    if (name === 'daemonize') continue;
    const flag = longFlag(name);
    if (typeof value === 'boolean') line.push(value ? flag : flag.replace('--', '--no-'));
    else for (const text of [value].flat()) line.push(`${flag}=${text}`);
  }
  return [...line, ...(entry.startsWith('-') ? ['--'] : []), entry, ...args];
}

const GONE: Outcome = {
  ready: false,
  exitCode: exitCodes.unusable,
  reason: 'the manager ended without a word',
};

async function startNative({ file, args, env, log }: Program, binding: Binding): Promise<Outcome> {
  const pair = binding.channelPair();
  if (typeof pair === 'number') throw new Error(`socketpair: ${errnoText(errnoCode(pair))}`);
  const [ours, theirs] = pair;
  const daemon = binding.daemonize({
    file,
    args: [file, ...args],
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    fds: [[theirs, REPORT_FD]],
    stdio: [-1, log, log],
  });
  binding.close(theirs);
  try {
    if ('errno' in daemon) throw new Error(`${daemon.step}: ${errnoText(errnoCode(daemon.errno))}`);
    const { pid, pidfd } = daemon;
    const terminate = (): void => {
      if (pidfd >= 0) binding.pidfdSendSignal(pidfd, signalNumber('SIGTERM'));
      else binding.kill(pid, signalNumber('SIGTERM'));
    };
    const outcome = await orTerminate(terminate, readPacket(binding, ours));
    if (pidfd >= 0) binding.close(pidfd);
    return outcome;
  } finally {
    binding.close(ours);
  }
}

function readPacket(binding: Binding, fd: number): Promise<Outcome> {
  let outcome = GONE;
  return new Promise((resolve, reject) => {
    const poller = binding.createPoller(() => {
      const packet = binding.recvMessage(fd, MAX_REPORT_BYTES, 0);
      if (typeof packet === 'number' && errnoCode(packet) === 'EAGAIN') return;
      if (typeof packet === 'object') outcome = parseOutcome(packet.data.toString()) ?? GONE;
      // One that failed has gone when its end of the socket has.
      if (typeof packet === 'object' && !outcome.ready) return;
      if (typeof poller !== 'number') poller.close();
      resolve(outcome);
    });
    if (typeof poller === 'number') reject(new Error(`epoll_create1: ${errnoText(errnoCode(poller))}`));
    else poller.add(fd, 0);
  });
}

/** Without a double fork: a child in a session of its own, that init inherits when this process has ended. */
async function startDetached({ file, args, env, log }: Program): Promise<Outcome> {
  const child = spawn(file, [...args], { detached: true, env, stdio: ['ignore', log, log, 'pipe'] });
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  if (child.pid === undefined) return failed;
  const report = child.stdio[REPORT_FD] as Readable;
  try {
    return await orTerminate(() => void child.kill('SIGTERM'), Promise.race([readLine(report), failed]));
  } finally {
    report.destroy();
    child.unref();
  }
}

async function readLine(report: Readable): Promise<Outcome> {
  let text = '';
  report.setEncoding('utf8');
  for await (const chunk of report as AsyncIterable<string>) {
    text = (text + chunk).slice(0, MAX_REPORT_BYTES);
    // One that failed has gone when its end of the socket has.
    if (parseOutcome(text)?.ready) break;
  }
  return parseOutcome(text) ?? GONE;
}

/** A signal to this process while it waits is for the manager, which then says how it ended. */
async function orTerminate<T>(terminate: () => void, outcome: Promise<T>): Promise<T> {
  for (const name of PASSED_ON) process.on(name, terminate);
  try {
    return await outcome;
  } finally {
    for (const name of PASSED_ON) process.off(name, terminate);
  }
}
