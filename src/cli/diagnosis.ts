/** The facts that `prefork doctor` prints, as data. */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { join, sep } from 'node:path';
import { addonFile, type Binding, loadBinding } from '../engine/binding';
import type { Capabilities } from '../engine/engine';
import { JsEngine } from '../engine/js';
import { NativeEngine } from '../engine/native';
import { addonAdvice } from '../options/addon-advice';
import { MAX_WORKERS } from '../options/schema';
import { version } from './version';

/** Something that works here or does not. */
export interface Fact {
  readonly name: string;
  /** null: not known */
  readonly works: boolean | null;
  readonly doc: string;
  /** why it does not work; null when it does */
  readonly reason: string | null;
}

export interface Diagnosis {
  readonly prefork: string;
  readonly engine: 'native' | 'js';
  readonly node: { readonly version: string; readonly path: string; readonly napi: string };
  readonly system: {
    readonly platform: string;
    readonly arch: string;
    readonly kernel: string;
    readonly libc: string;
  };
  readonly addon: {
    readonly loaded: boolean;
    readonly version: string | null;
    /** its file, also where it does not load; null: there is none for this machine */
    readonly path: string | null;
    /** it came with the package, or was built here; null: there is none */
    readonly origin: 'package' | 'built' | null;
    readonly reason: string | null;
    readonly advice: string | null;
  };
  readonly features: readonly Fact[];
  readonly capabilities: readonly Fact[];
  readonly limits: {
    readonly cpus: number;
    readonly maxWorkers: number;
    readonly openFiles: number | null;
    /** of this user; null: no limit, or not known */
    readonly processes: number | null;
    /** of the control group that this is in; null: no limit, or not known */
    readonly tasks: number | null;
    readonly memoryBytes: number | null;
    readonly somaxconn: number | null;
  };
}

const CAPABILITY_DOCS: Readonly<Record<keyof Capabilities, string>> = {
  rusage: 'CPU time and memory of each ended worker',
  parentDeathSignal: 'workers end with a killed manager, even blocked ones',
  listenPid: 'LISTEN_PID for programs written for systemd',
  flock: 'locked pid file',
  childCredentials: '--user and --group',
  childLimits: '--umask, and resource limits of workers',
  managerUpgrade: 'the manager replaces itself on USR2',
  sdNotify: 'readiness and watchdog messages to systemd',
  peerCredentials: 'who speaks on the control socket is known',
  stopEvents: 'stopped (SIGSTOP) workers are noticed',
  reusePort: '--reuse-port',
  udp: '--bind udp:…',
  fork: 'workers forked from a loaded program',
  scoreboard: 'state, requests, load and memory of the workers',
};

const FEATURE_DOCS = {
  pidfd: ['process descriptors, pidfd_open(2)', 'Linux 5.3'],
  waitidPidfd: ['waiting by process descriptor, waitid(2) P_PIDFD', 'Linux 5.4'],
  closeRange: ['closing descriptors in one call, close_range(2)', 'Linux 5.9'],
  memfd: ['sealed memory, memfd_create(2)', 'Linux 3.17'],
} as const;

/** Looks at this process and machine; starts nothing. */
export function diagnose(env: NodeJS.ProcessEnv = process.env): Diagnosis {
  const { binding, reason } = loadBinding();
  return {
    prefork: version(),
    engine: binding ? 'native' : 'js',
    node: { version: process.versions.node, path: process.execPath, napi: process.versions.napi ?? 'none' },
    system: { platform: process.platform, arch: process.arch, kernel: release(), libc: libc() },
    addon: {
      loaded: binding !== null,
      version: binding?.features().addonVersion ?? null,
      ...addonOrigin(),
      reason,
      advice: binding ? null : addonAdvice(env),
    },
    features: features(binding),
    capabilities: capabilities(binding),
    limits: {
      cpus: availableParallelism(),
      maxWorkers: MAX_WORKERS,
      openFiles: ownLimit('Max open files'),
      processes: ownLimit('Max processes'),
      tasks: groupLimit('pids.max'),
      memoryBytes: groupLimit('memory.max'),
      somaxconn: readNumber('/proc/sys/net/core/somaxconn'),
    },
  };
}

function features(binding: Binding | null): Fact[] {
  const found = binding?.features();
  return Object.entries(FEATURE_DOCS).map(([name, [doc, since]]) => {
    const works = found?.[name as keyof typeof FEATURE_DOCS] ?? null;
    const reason = found
      ? `not in this kernel, or not allowed here; it came with ${since}`
      : 'not known without the addon';
    return { name, works, doc, reason: works ? null : reason };
  });
}

function capabilities(binding: Binding | null): Fact[] {
  const engine = binding ? new NativeEngine(binding) : new JsEngine();
  const found = engine.capabilities;
  engine.close();
  return Object.entries(CAPABILITY_DOCS).map(([name, doc]) => {
    const missing = found[name as keyof Capabilities] ? null : missingBecause(binding);
    const reason = name === 'fork' && binding ? binding.forkSupport().reason : missing;
    return { name, works: reason === null, doc, reason };
  });
}

function missingBecause(binding: Binding | null): string {
  return binding ? `not on ${process.platform}` : 'needs the addon';
}

/** `glibc 2.36`, or `musl`. */
function libc(): string {
  if (process.platform !== 'linux') {
    return 'system C library';
  }
  const musl = ['x86_64', 'aarch64'].find((arch) => existsSync(`/lib/ld-musl-${arch}.so.1`));
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  report.excludeNetwork = true;
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime
    ? `glibc ${header.glibcVersionRuntime}`
    : musl
      ? 'musl'
      : 'unknown C library';
}

/** A soft limit of this process by its name in /proc; Node raises that of open files to the hard one when it starts. */
function ownLimit(name: string): number | null {
  try {
    const lines = readFileSync('/proc/self/limits', 'utf8').split('\n');
    const soft = /^\s+(\d+)\s/.exec(
      lines.find((line) => line.startsWith(name))?.slice(name.length) ?? '',
    )?.[1];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null;
  }
}

/** The limit of this process' own control group (version 2); those above it may be narrower. */
function groupLimit(file: string): number | null {
  try {
    const group = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
    const limit = Number(readFileSync(join('/sys/fs/cgroup', group, file), 'utf8'));
    return Number.isNaN(limit) ? null : limit;
  } catch {
    return null;
  }
}

/** Where the addon of this package is. */
function addonOrigin(): Pick<Diagnosis['addon'], 'path' | 'origin'> {
  try {
    const path = addonFile();
    return { path, origin: path.split(sep).includes('prebuilds') ? 'package' : 'built' };
  } catch {
    return { path: null, origin: null };
  }
}

function readNumber(file: string): number | null {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}
