/** Options that `spawn` and `daemonize` share, and their translation for the addon. */
import type { NativeSpawnSpec, Rlimits } from '../engine/binding';

/** Names of resource limits, as `prlimit(1)` has them. The last six are Linux's. */
export type Resource =
  | 'core'
  | 'cpu'
  | 'data'
  | 'fsize'
  | 'nofile'
  | 'stack'
  | 'as'
  | 'rss'
  | 'nproc'
  | 'memlock'
  | 'locks'
  | 'sigpending'
  | 'msgqueue'
  | 'nice'
  | 'rtprio'
  | 'rttime';

export interface ProgramOptions {
  /** `argv[0]`; the file by default */
  argv0?: string;
  /** The whole environment; `process.env` by default. `PATH` is looked up in it. A `LISTEN_PID` of '' becomes the child's pid */
  env?: Readonly<Record<string, string | undefined>>;
  /** working directory; this process's by default */
  cwd?: string;
  /** Descriptors of this process for 0, 1 and 2; null is /dev/null */
  stdio?: readonly [number | null, number | null, number | null];
  /** More descriptors to pass, as [number here, number there]. Whatever is not named is closed by the exec. Numbers may overlap in any way */
  fds?: readonly (readonly [number, number])[];
  /** Sockets to pass as systemd does, sd_listen_fds(3): from 3 on, with `LISTEN_FDS` and `LISTEN_PID` set */
  listenFds?: readonly number[];
  /** file mode creation mask, 0 to 0o777 */
  umask?: number;
  /** [soft, hard] by name; -1 is unlimited. In the resource's own unit: bytes, seconds, a count */
  rlimits?: Readonly<Partial<Record<Resource, readonly [number, number]>>>;
  /** real, effective and saved user; verified. Needs CAP_SETUID */
  uid?: number;
  /** real, effective and saved group; verified. Needs CAP_SETGID */
  gid?: number;
  /** Supplementary groups. Where root changes `uid` or `gid`, none by default; else as they are */
  groups?: readonly number[];
  /** Linux: PR_SET_NO_NEW_PRIVS, so that no set-user-id program gives privileges back */
  noNewPrivs?: boolean;
}

const FIRST_LISTEN_FD = 3;

/** @throws TypeError for what is of the wrong type; the addon checks the rest */
export function toNativeSpec(
  file: string,
  args: readonly string[],
  options: ProgramOptions,
): NativeSpawnSpec {
  if (!Array.isArray(args)) throw new TypeError('args must be an array of strings');
  const { cwd, umask, rlimits, uid, gid, noNewPrivs } = options;
  const groups = options.groups ?? defaultGroups(options);
  return {
    file,
    args: [options.argv0 ?? file, ...args],
    env: environment(options),
    fds: placements(options),
    ...(cwd !== undefined && { cwd }),
    ...(umask !== undefined && { umask }),
    ...(rlimits !== undefined && { rlimits: rlimits as Rlimits }),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(groups !== undefined && { groups }),
    ...(noNewPrivs !== undefined && { noNewPrivs }),
  };
}

/** A program that is given another user must not keep root's groups. */
function defaultGroups({ uid, gid }: ProgramOptions): readonly number[] | undefined {
  const changes = uid !== undefined || gid !== undefined;
  return changes && process.geteuid?.() === 0 ? [] : undefined;
}

function environment({ env = process.env, listenFds }: ProgramOptions): string[] {
  const merged =
    listenFds === undefined ? env : { ...env, LISTEN_FDS: String(listenFds.length), LISTEN_PID: '' };
  const lines: string[] = [];
  for (const [key, value] of Object.entries(merged)) if (value !== undefined) lines.push(`${key}=${value}`);
  return lines;
}

function placements({
  fds = [],
  listenFds = [],
  stdio = [0, 1, 2],
}: ProgramOptions): (readonly [number, number])[] {
  const standard: (readonly [number, number])[] = [];
  for (const [target, fd] of stdio.entries()) if (fd !== null) standard.push([fd, target]);
  return [...standard, ...listenFds.map((fd, index) => [fd, FIRST_LISTEN_FD + index] as const), ...fds];
}

/** What an error of `step` is about: the directory, or the program. */
export function pathOfStep(step: string, file: string, options: ProgramOptions): { path?: string } {
  if (step === 'execve') return { path: file };
  if (step === 'open') return { path: '/dev/null' };
  return step === 'chdir' && options.cwd !== undefined ? { path: options.cwd } : {};
}
