/** A command on a terminal (test/helpers/terminal.py), and what that shows. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import { root } from './service';

/** Far above what anything takes. */
const LONG_MS = 45_000;

/** A cursor address, an erased screen, another sequence, or text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's output
const OUTPUT = /\x1b\[(?:(\d+);1H|(2J)|[?0-9;]*[a-zA-Z])|([^\x1b]+)/g;

interface Ended {
  /** of waitpid(2) */
  readonly status: number;
  /** the terminal's modes are what they were */
  readonly restored: boolean;
}

export class Terminal {
  readonly process: ChildProcess;
  /** everything that came, escape sequences included */
  raw = '';
  #errors = '';
  #told: (() => void) | null = null;
  readonly ended: Promise<Ended>;

  private constructor(child: ChildProcess) {
    this.process = child;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.raw += text;
      this.#told?.();
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    this.ended = once(child, 'close').then(() => {
      this.#told?.();
      try {
        return JSON.parse(this.#errors) as Ended;
      } catch {
        throw new Error(`the terminal failed: ${this.#errors}`);
      }
    });
    this.ended.catch(() => {});
  }

  static start(
    command: readonly string[],
    {
      rows = 24,
      columns = 120,
      env = {},
      cwd = root,
    }: { rows?: number; columns?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
  ): Terminal {
    const script = join(root, 'test', 'helpers', 'terminal.py');
    return new Terminal(
      spawn('python3', [script, String(rows), String(columns), ...command], {
        cwd,
        env: { ...process.env, TERM: 'xterm-256color', ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
      }),
    );
  }

  keys(keys: string): void {
    this.#order({ keys });
  }

  resize(rows: number, columns: number): void {
    this.#order({ resize: [rows, columns] });
  }

  signal(name: NodeJS.Signals): void {
    this.#order({ signal: constants.signals[name] });
  }

  #order(order: object): void {
    this.process.stdin!.write(`${JSON.stringify(order)}\n`);
  }

  /** The lines on the screen, as far as this program's output needs an emulator: cursor addresses, and erasing to the end of a line. */
  get screen(): string[] {
    const lines: string[] = [];
    let at = 0;
    for (const [, row, erase, text] of this.raw.matchAll(OUTPUT)) {
      if (row !== undefined) {
        at = Number(row) - 1;
        lines[at] = '';
      } else if (erase !== undefined) lines.length = 0;
      else if (text !== undefined) lines[at] = (lines[at] ?? '') + text;
    }
    return Array.from(lines, (line) => line ?? '');
  }

  /** Waits until it shows what fits; throws with what it shows instead. */
  async shows(fits: (screen: string[]) => boolean): Promise<string[]> {
    return this.#until(() => (fits(this.screen) ? this.screen : null));
  }

  /** Waits until that came. */
  async says(text: string): Promise<void> {
    await this.#until(() => this.raw.includes(text) || null);
  }

  async #until<T>(look: () => T | null): Promise<T> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#told?.();
    }, LONG_MS);
    try {
      for (;;) {
        const found = look();
        if (found !== null) return found;
        if (late || this.process.exitCode !== null)
          throw new Error(`the terminal shows\n${this.screen.join('\n')}\n${this.raw}`);
        await new Promise<void>((resolve) => {
          this.#told = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
      this.#told = null;
    }
  }

  /** With its input ended the command is killed. */
  async dispose(): Promise<void> {
    this.process.stdin!.end();
    await this.ended.catch(() => {});
  }
}
