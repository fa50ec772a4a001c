/** The variables that workers get, and the settings among them that Server::Starter reads from there. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { secondsToMs } from './options';

/** Default of `--auto-restart-interval`, and of `--kill-old-delay` where auto-restart is on. Seconds. */
const AUTO_RESTART_INTERVAL = '360';
const KILL_OLD_DELAY = '5';

export interface TimedSettings {
  /** 0: no auto-restart */
  readonly autoRestartIntervalMs: number;
  readonly killOldDelayMs: number;
}

/** The environment of the service: options over the manager's own, the directory ENVDIR over both. */
export class Environment {
  readonly #own: Readonly<Record<string, string>>;
  #directory: Readonly<Record<string, string>> = {};

  constructor(own: NodeJS.ProcessEnv, options: Readonly<Record<string, string>>) {
    const entries = Object.entries({ ...own, ...options });
    this.#own = Object.fromEntries(
      entries.filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
  }

  /** Reads the directory again, if there is one, and returns all variables. */
  refresh(): Readonly<Record<string, string>> {
    const directory = this.#own.ENVDIR;
    // Where it cannot be read, what it said last stays.
    if (directory) this.#directory = readDirectory(directory) ?? this.#directory;
    return { ...this.#own, ...this.#directory };
  }

  /** The settings as they are now. */
  settings(): TimedSettings {
    const {
      ENABLE_AUTO_RESTART: enabled,
      AUTO_RESTART_INTERVAL: every,
      KILL_OLD_DELAY: delay,
    } = this.refresh();
    // As Perl takes a variable for true.
    const on = enabled !== undefined && enabled !== '' && enabled !== '0';
    return {
      autoRestartIntervalMs: on ? whole(every ?? AUTO_RESTART_INTERVAL) : 0,
      killOldDelayMs: whole(delay ?? (on ? KILL_OLD_DELAY : '0')),
    };
  }
}

/** Leading digits, as Perl takes a text for a number. */
const whole = (text: string): number => secondsToMs(/^\s*[0-9]+/.exec(text)?.[0] ?? '0');

/** First line of every file whose name does not begin with a dot; null where it cannot be read. */
function readDirectory(directory: string): Record<string, string> | null {
  try {
    const found: Record<string, string> = {};
    for (const { name } of readdirSync(directory, { withFileTypes: true }).filter(isVariable)) {
      const line = firstLine(join(directory, name));
      // An empty file says nothing.
      if (line !== null && line !== '') found[name] = line;
    }
    return found;
  } catch {
    return null;
  }
}

const isVariable = (entry: { name: string; isDirectory(): boolean }): boolean =>
  !entry.name.startsWith('.') && !entry.isDirectory() && !entry.name.includes('=');

function firstLine(path: string): string | null {
  try {
    const line = readFileSync(path, 'utf8').split('\n', 1)[0] ?? '';
    return line.includes('\0') ? null : line;
  } catch {
    return null;
  }
}
