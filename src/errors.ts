/** The one table of errors that prefork makes itself, and the exit codes of the manager. */
import { constants } from 'node:os';

/** Exit codes of `prefork run`; a manager ended by signal n before it could stop has 128 + n. */
export const exitCodes = {
  /** stopped as asked */
  ok: 0,
  /** unusable options or configuration; nothing was started */
  unusable: 1,
  /** of `check`: no verdict, since it could not be run */
  noVerdict: 2,
  /** while no worker had yet been ready, one ended or the ready timeout passed */
  neverReady: 3,
  /** a listener could not be opened during the first start */
  listen: 4,
  /** of the commands for a running service: there is none (LSB) */
  notRunning: 7,
} as const;

/** What a shell reports for a process that `signal` ended: 128 + its number. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

interface ErrorEntry<D> {
  readonly exitCode: number;
  /** what it means and what to do, for docs */
  readonly doc: string;
  readonly message: (detail: D) => string;
}

function entry<D>(exitCode: number, doc: string, message: (detail: D) => string): ErrorEntry<D> {
  return { exitCode, doc, message };
}

/** `where` is the option as the user wrote it: `--workers`, `workers in prefork.config.json`, `PREFORK_WORKERS`. */
interface AtOption {
  where: string;
}

/** Every `ERR_PREFORK_*` code: what is said, the exit code of a command that it ends, and what it means. */
export const errorTable = {
  ERR_PREFORK_USAGE: entry<{ problem: string }>(
    exitCodes.unusable,
    'The command line could not be read: an unknown command or option, or a missing argument.',
    (d) => d.problem,
  ),
  ERR_PREFORK_CHECK_USAGE: entry<{ problem: string }>(
    exitCodes.noVerdict,
    'The command line of `prefork check` could not be read. Its exit code 1 is a verdict, so this is 2.',
    (d) => d.problem,
  ),
  ERR_PREFORK_OPTION_VALUE: entry<AtOption & { found: string; problem: string; expected: string }>(
    exitCodes.unusable,
    'An option has a value of the wrong type, out of its range or not well-formed.',
    (d) => `${d.where}: ${d.found} ${d.problem}; expected ${d.expected}`,
  ),
  ERR_PREFORK_OPTION_UNKNOWN: entry<{ name: string; file: string; nearest: string | null }>(
    exitCodes.unusable,
    'The configuration file has a key that is no option.',
    (d) => `${d.file}: unknown option ${d.name}${d.nearest ? `; did you mean ${d.nearest}?` : ''}`,
  ),
  ERR_PREFORK_OPTION_CONFLICT: entry<{ problem: string }>(
    exitCodes.unusable,
    'Two options contradict each other, or one has no effect without another.',
    (d) => d.problem,
  ),
  ERR_PREFORK_CONFIG: entry<{ file: string; problem: string }>(
    exitCodes.unusable,
    'The configuration file is missing, unreadable, fails when it is loaded, or does not hold an object of options.',
    (d) => `cannot load the configuration ${d.file}: ${d.problem}`,
  ),
  ERR_PREFORK_ENTRY: entry<{ entry: string; problem: string }>(
    exitCodes.unusable,
    'The entry (the program that the workers run) is missing or cannot be read. A reload reads it again.',
    (d) => `cannot use the entry ${d.entry}: ${d.problem}`,
  ),
  ERR_PREFORK_PATH: entry<AtOption & { path: string; problem: string }>(
    exitCodes.unusable,
    'A file or directory that an option names is missing, of the wrong kind, or not accessible.',
    (d) => `${d.where}: ${d.path}: ${d.problem}`,
  ),
  ERR_PREFORK_USER: entry<AtOption & { problem: string }>(
    exitCodes.unusable,
    'The user or group of the workers is unknown on this machine, or this process may not become it.',
    (d) => `${d.where}: ${d.problem}`,
  ),
  ERR_PREFORK_NODE_ARG: entry<AtOption & { problem: string }>(
    exitCodes.unusable,
    'The node in use does not accept an argument given with --node-arg.',
    (d) => `${d.where}: ${d.problem}`,
  ),
  ERR_PREFORK_ADDON_MISSING: entry<{ reason: string; advice: string }>(
    exitCodes.unusable,
    '--native was given, but the addon did not load. `prefork doctor` says what is missing.',
    (d) =>
      `--native needs the addon, which did not load (${d.reason}). ${d.advice}, or run without --native.`,
  ),
  ERR_PREFORK_CAPABILITY: entry<AtOption & { capability: string; reason: string }>(
    exitCodes.unusable,
    'An option needs something that the engine in use cannot do; most often the js engine, for want of the addon.',
    (d) => `${d.where} needs the native engine (capability ${d.capability}), but ${d.reason}`,
  ),
  ERR_PREFORK_ALREADY_RUNNING: entry<{ pidFile: string; pid: number }>(
    exitCodes.unusable,
    'The pid file is held by a manager that lives.',
    (d) => `already running with pid ${d.pid} (${d.pidFile}); stop it first or name another --pid-file`,
  ),
  ERR_PREFORK_LISTEN: entry<{ address: string; code: string; advice: string }>(
    exitCodes.listen,
    'A listening socket could not be opened during the first start.',
    (d) => `cannot listen on ${d.address}: ${d.code}${d.advice ? ` (${d.advice})` : ''}`,
  ),
  ERR_PREFORK_FORK_UNSUPPORTED: entry<{ reason: string }>(
    exitCodes.unusable,
    'This process cannot be forked: not Linux with glibc on x64 or arm64, no addon, not the main thread, or a Node that works otherwise than known.',
    (d) => `cannot fork here: ${d.reason}`,
  ),
  ERR_PREFORK_FORK_UNSAFE: entry<{ problems: readonly string[] }>(
    exitCodes.unusable,
    'The process has something that a fork would share by accident or cut off in the middle. Close it in beforeFork() and open it in afterFork(), or open it after listen().',
    (d) => `not safe to fork: ${d.problems.join('; ')}`,
  ),
  ERR_PREFORK_CONTROL: entry<{ path: string; problem: string }>(
    exitCodes.unusable,
    'The control socket cannot be opened: another manager has it, a file that is no socket is in the way, or its directory is not writable.',
    (d) => `cannot open the control socket ${d.path}: ${d.problem}`,
  ),
  ERR_PREFORK_NOT_RUNNING: entry<{ service: string }>(
    exitCodes.notRunning,
    'The service that a command is for does not run.',
    (d) => `not running (${d.service})`,
  ),
  ERR_PREFORK_UNREACHABLE: entry<{ service: string; problem: string }>(
    exitCodes.unusable,
    'The service that a command is for may run, but cannot be asked: no control socket, no permission, or it does not answer.',
    (d) => `cannot reach the manager (${d.service}): ${d.problem}`,
  ),
  ERR_PREFORK_STOP_TIMEOUT: entry<{ pid: number; timeout: string }>(
    exitCodes.unusable,
    'The manager was told to stop and did not within --timeout. It goes on stopping.',
    (d) =>
      `manager ${d.pid} did not stop within ${d.timeout}; it goes on stopping, and stop --now ends it at once`,
  ),
  ERR_PREFORK_STATE: entry<{ problem: string }>(
    exitCodes.unusable,
    'A call of the library that cannot be at this moment or in this process: finish() in the manager, start() in a worker or while another is under way.',
    (d) => d.problem,
  ),
  ERR_PREFORK_NEVER_READY: entry<{ problem: string }>(
    exitCodes.neverReady,
    'While no worker had yet been ready, one ended or the ready timeout passed.',
    (d) => d.problem,
  ),
} as const;

export type PreforkErrorCode = keyof typeof errorTable;
export type ErrorDetail<C extends PreforkErrorCode> = Parameters<(typeof errorTable)[C]['message']>[0];

/** An error of prefork's own: a stable `code`, one line for people, and the exit code of the command that it ends. */
export class PreforkError extends Error {
  override readonly name = 'PreforkError';
  readonly code: PreforkErrorCode;
  readonly exitCode: number;

  constructor(code: PreforkErrorCode, message: string, cause?: unknown) {
    super(oneLine(message), cause === undefined ? undefined : { cause });
    this.code = code;
    this.exitCode = errorTable[code].exitCode;
  }

  /** The message, and the code to look it up by. */
  get line(): string {
    return `${this.message} [${this.code}]`;
  }
}

/** Makes the error `code` with the message that {@link errorTable} has for it. */
export function preforkError<C extends PreforkErrorCode>(
  code: C,
  detail: ErrorDetail<C>,
  cause?: unknown,
): PreforkError {
  const message = errorTable[code].message as (detail: ErrorDetail<C>) => string;
  return new PreforkError(code, message(detail), cause);
}

/** Whatever was thrown, as text for people. */
export function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The usual reasons of file operations in words, the code behind them; other errors as they are. */
export function describeErrno(thrown: unknown): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'no such file or directory',
    EACCES: 'permission denied',
    EPERM: 'not permitted',
    ENOTDIR: 'not a directory',
    EISDIR: 'is a directory',
    ELOOP: 'too many symbolic links',
    ENAMETOOLONG: 'name too long',
    EROFS: 'read-only file system',
  };
  return code in words ? `${words[code]} (${code})` : describe(thrown);
}

/** Control characters would split or recolour the one line that an error is. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/\s*[\u0000-\u001f\u007f]+\s*/g, ' ').trim();
}
