/**
 * Runs Node's own tests in a forked process and in a plain one, and tells which pass in the one only. Goes on where it was
 * interrupted.
 *   CONFORMANCE_TESTS=dir    what fetch.sh has made: directories named by major version, of which the nearest is used
 *   CONFORMANCE_NODES=a:b:c  paths; default the running one
 *   CONFORMANCE_STATE=file   outcomes so far
 *   CONFORMANCE_PATTERN=re   of file names; default what workers are made of
 *   CONFORMANCE_PARALLEL=n   default 2
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../root';

const TEST_MS = 120_000;
/** A test that differs is run again, alone: many depend on time. */
const ATTEMPTS = 3;
const DEFAULT_PATTERN =
  /^test-(http|https|http2|net|tls|dns|dgram|fs|crypto|webcrypto|zlib|stream|timers|child-process|worker|process-exit|promise|async-local-storage)\b.*\.m?js$/;

const { env } = process;
const tests = env.CONFORMANCE_TESTS ?? join(root, 'node_modules', '.cache', 'node-tests');
const stateFile = env.CONFORMANCE_STATE ?? join(root, 'node_modules', '.cache', 'prefork-conformance.json');
const pattern = env.CONFORMANCE_PATTERN === undefined ? DEFAULT_PATTERN : new RegExp(env.CONFORMANCE_PATTERN);
const lanes = Number(env.CONFORMANCE_PARALLEL ?? 2);
const forker = join(root, 'test', 'fork', 'conformance', 'forked.cjs');
const exceptions = JSON.parse(
  readFileSync(join(root, 'test', 'fork', 'conformance', 'exceptions.json'), 'utf8'),
) as Record<string, string>;

type Outcome = 'same' | 'fails plain' | 'fails forked';
type State = Record<string, Record<string, Outcome>>;

/** Nearest version of the tests that is there. */
function directoryFor(major: number): string {
  const majors = readdirSync(tests).map(Number).filter(Number.isInteger);
  const nearest = majors.sort((a, b) => Math.abs(a - major) - Math.abs(b - major))[0];
  if (nearest === undefined) throw new Error(`no tests in ${tests}: run test/fork/conformance/fetch.sh`);
  return join(tests, String(nearest));
}

class Conformance {
  readonly #node: string;
  readonly #version: string;
  readonly #directory: string;
  readonly #outcomes: Record<string, Outcome>;
  readonly #save: () => void;
  readonly #files: string[];

  constructor(node: string, state: State, save: () => void) {
    this.#node = node;
    this.#version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
    this.#directory = directoryFor(Number.parseInt(this.#version.slice(1), 10));
    state[this.#version] ??= {};
    this.#outcomes = state[this.#version] as Record<string, Outcome>;
    this.#save = save;
    const files = readdirSync(join(this.#directory, 'parallel')).filter((name) => pattern.test(name));
    this.#files = files.filter((name) => this.#outcomes[name] === undefined);
  }

  async run(): Promise<boolean> {
    await Promise.all(Array.from({ length: lanes }, (_, lane) => this.#lane(lane)));
    return this.#report();
  }

  async #lane(lane: number): Promise<void> {
    for (let name = this.#files.shift(); name !== undefined; name = this.#files.shift()) {
      this.#outcomes[name] = await this.#compare(name, lane);
      if (this.#outcomes[name] === 'fails forked') console.log(`${this.#version} ${name} fails forked`);
      this.#save();
    }
  }

  async #compare(name: string, lane: number): Promise<Outcome> {
    if (!(await this.#passes(name, [], lane))) return 'fails plain';
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await this.#passes(name, [forker], lane)) return 'same';
      if (!(await this.#passes(name, [], lane))) return 'fails plain';
    }
    return 'fails forked';
  }

  async #passes(name: string, wrapper: readonly string[], lane: number): Promise<boolean> {
    const file = join(this.#directory, 'parallel', name);
    const flags = /^\/\/ Flags:(.*)$/m.exec(readFileSync(file, 'utf8'))?.[1]?.trim().split(/\s+/) ?? [];
    const temporary = mkdtempSync(join(tmpdir(), 'prefork-conformance-'));
    const child = spawn(this.#node, [...flags, ...wrapper, file], {
      cwd: this.#directory,
      stdio: 'ignore',
      detached: true,
      env: { ...env, NODE_TEST_DIR: temporary, TEST_THREAD_ID: String(lane + 1), NODE_SKIP_FLAG_CHECK: '1' },
    });
    const late = setTimeout(() => killGroup(child.pid), TEST_MS);
    const [code] = (await once(child, 'exit')) as [number | null];
    clearTimeout(late);
    killGroup(child.pid);
    rmSync(temporary, { recursive: true, force: true });
    return code === 0;
  }

  #report(): boolean {
    const all = Object.entries(this.#outcomes);
    const count = (outcome: Outcome) => all.filter(([, found]) => found === outcome).length;
    const unexpected = all.filter(([name, outcome]) => outcome === 'fails forked' && !(name in exceptions));
    const passed = count('same');
    const total = passed + count('fails forked');
    console.log(`${this.#version}: of ${total} tests that pass plain, ${passed} pass forked`);
    for (const [name, outcome] of all) {
      if (outcome === 'fails forked') console.log(`  ${name}: ${exceptions[name] ?? 'UNEXPECTED'}`);
    }
    return unexpected.length === 0;
  }
}

/** What a test has left running. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing was left.
  }
}

function load(): State {
  try {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as State;
  } catch {
    return {};
  }
}

async function main(): Promise<void> {
  const state = load();
  const save = () => writeFileSync(stateFile, JSON.stringify(state));
  let well = true;
  for (const node of (env.CONFORMANCE_NODES ?? process.execPath).split(':')) {
    well = (await new Conformance(node, state, save).run()) && well;
  }
  process.exitCode = well ? 0 : 1;
}

void main();
