/** The prefork command as a user types it, in a directory of its own; and what its managers in the background leave behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { ManagerProcess } from '../../src/control/manager-process';
import { markedProcesses, tryKill } from './marked';
import { cli, type EngineName } from './service';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Bound of a wait for an end: far above what anything takes. */
const LONG_MS = 20_000;

export class Ground {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), 'prefork-')));
  readonly #engine: EngineName;
  readonly #marker = ['PREFORK_TEST_MARKER', randomUUID()] as const;

  constructor(engine: EngineName) {
    this.#engine = engine;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  write(name: string, text: string): string {
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  read(name: string): string {
    return readFileSync(this.path(name), 'utf8');
  }

  files(): string[] {
    return readdirSync(this.directory).sort();
  }

  /** With the js engine the addon is not even there. */
  get env(): NodeJS.ProcessEnv {
    const [name, value] = this.#marker;
    return { ...process.env, [name]: value, ...(this.#engine === 'js' && { PREFORK_ENGINE: 'js' }) };
  }

  spawn(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return this.node([cli, ...args], env);
  }

  /** Any script, from here. */
  node(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const node = process.env.PREFORK_TEST_NODE ?? process.execPath;
    return spawn(node, args, {
      cwd: this.directory,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return ranOf(this.spawn(args, env));
  }

  /** Processes that live (zombies do not) and were started from here. */
  processes(): number[] {
    return markedProcesses(this.#marker.join('='));
  }

  /** Waits until none is left. */
  async quiet(): Promise<void> {
    for (const pid of this.processes()) await ended(pid);
  }

  async dispose(): Promise<void> {
    const left = this.processes();
    for (const pid of left) tryKill(pid, 'SIGKILL');
    for (const pid of left) await ended(pid);
    rmSync(this.directory, { recursive: true, force: true });
    expect(left, 'processes left behind').toEqual([]);
  }
}

export async function ranOf(child: ChildProcess): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** Waits for the end of any process. */
export async function ended(pid: number): Promise<void> {
  const found = ManagerProcess.open(pid);
  if (found === null) return;
  expect(await found.ended(LONG_MS), `process ${pid} ended`).toBe(true);
  found.close();
}
