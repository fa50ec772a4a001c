/** What start_server says and writes down, driven through the real core with a clock of its own. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Event } from '../../src/core/event';
import type { Policy } from '../../src/core/policy';
import { initialState, type State } from '../../src/core/state';
import { step } from '../../src/core/step';
import { starterPolicy } from '../../src/starter/policy';
import { Reporter } from '../../src/starter/reporter';
import { generationsIn, StatusFile, statusText } from '../../src/starter/status';

/** The core under the reporter's eyes; worker n gets the pid 100 + n. */
class Service {
  readonly lines: string[] = [];
  readonly signals: string[] = [];
  readonly #reporter: Reporter;
  readonly #policy: Policy;
  state: State;
  #now = 0;

  constructor(
    settings: { killOldDelayMs?: number; autoRestartIntervalMs?: number },
    status: StatusFile | null,
  ) {
    this.#reporter = new Reporter((line) => this.lines.push(line), status);
    this.#policy = starterPolicy(
      { intervalMs: 1000, signalOnHup: 'SIGUSR1', signalOnTerm: 'SIGTERM', killTimeoutMs: null },
      { killOldDelayMs: 0, autoRestartIntervalMs: 0, ...settings },
    );
    this.state = initialState(this.#policy, 0, 1);
    this.send({ type: 'tick' });
  }

  send(event: Event): void {
    const { state, commands } = step(this.state, event, this.#now);
    this.state = state;
    const answers: Event[] = [];
    for (const command of commands) {
      this.#reporter.command(command, state);
      if (command.type === 'spawn') {
        answers.push({ type: 'spawned', workerId: command.workerId, pid: 100 + command.workerId });
      } else if (command.type === 'reloadConfig') {
        answers.push({ type: 'configLoaded', generation: command.generation, policy: this.#policy });
      } else if (command.type === 'signal') {
        this.signals.push(`${command.signal} ${100 + command.workerId}`);
      }
    }
    for (const answer of answers) this.send(answer);
  }

  /** That much later. */
  after(ms: number): void {
    const endMs = this.#now + ms;
    while (this.state.wakeAtMs !== null && this.state.wakeAtMs <= endMs) {
      this.#now = this.state.wakeAtMs;
      this.send({ type: 'tick' });
    }
    this.#now = endMs;
  }

  signal(signal: 'SIGHUP' | 'SIGTERM' | 'SIGINT'): void {
    this.send({ type: 'signal', signal });
  }

  exit(workerId: number, status: number): void {
    this.send({ type: 'exited', workerId, status, lastWords: null });
  }

  /** The lines since the last call. */
  said(): string[] {
    return this.lines.splice(0);
  }
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-starter-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe('the log of start_server', () => {
  test('tells of a new worker, of the old one, and of the end', () => {
    const service = new Service({}, null);
    service.after(1000);
    service.signal('SIGHUP');
    service.after(1000);
    service.exit(1, 0);
    service.signal('SIGTERM');
    service.exit(2, 9);
    expect(service.said()).toEqual([
      'starting new worker 101',
      'received HUP, spawning a new worker',
      'starting new worker 102',
      'new worker is now running, sending USR1 to old workers:101',
      'killing old workers',
      'old worker 101 died, status:0',
      'received TERM, sending TERM to all workers:102',
      'worker 102 died, status:9',
      'exiting',
    ]);
    expect(service.signals).toEqual(['SIGUSR1 101', 'SIGTERM 102']);
  });

  test('tells of attempts that failed, each a generation of its own', () => {
    const service = new Service({}, null);
    service.exit(1, 256);
    service.after(1000);
    service.exit(2, 512);
    service.after(2000);
    service.signal('SIGHUP');
    service.exit(4, 65_280);
    service.after(2000);
    expect(service.said()).toEqual([
      'starting new worker 101',
      'new worker 101 seems to have failed to start, exit status:256',
      'starting new worker 102',
      'new worker 102 seems to have failed to start, exit status:512',
      'starting new worker 103',
      'received HUP, spawning a new worker',
      'starting new worker 104',
      'new worker 104 seems to have failed to start, exit status:65280',
      'starting new worker 105',
      'new worker is now running, sending USR1 to old workers:103',
      'killing old workers',
    ]);
    expect(statusText(service.state)).toBe('3:103\n5:105\n');
  });

  test('tells of auto-restart, and of the delay', () => {
    const service = new Service({ killOldDelayMs: 5000, autoRestartIntervalMs: 60_000 }, null);
    service.after(1000);
    service.after(65_000);
    service.after(61_000);
    expect(service.said()).toEqual([
      'starting new worker 101',
      'autorestart triggered (interval=60)',
      'starting new worker 102',
      'new worker is now running, sending USR1 to old workers:101',
      'sleeping 5 secs before killing old workers',
      'killing old workers',
    ]);
    service.after(60_000);
    expect(service.said()[0]).toBe('autorestart triggered (forced, interval=60)');
  });

  test('calls a worker that dies old where its successor is on the way', () => {
    const service = new Service({}, null);
    service.after(1000);
    service.signal('SIGHUP');
    service.exit(1, 9);
    service.after(1000);
    service.exit(2, 11);
    expect(service.said().slice(2)).toEqual([
      'starting new worker 102',
      'old worker 101 died, status:9',
      'new worker is now running, sending USR1 to old workers:none',
      'worker 102 died unexpectedly with status:11, restarting',
      'starting new worker 103',
    ]);
  });

  test('tells of each signal that asks for the end', () => {
    const service = new Service({}, null);
    service.after(1000);
    service.signal('SIGINT');
    service.signal('SIGTERM');
    service.signal('SIGHUP');
    expect(service.said().slice(1)).toEqual([
      'received INT, sending TERM to all workers:101',
      'received TERM, sending TERM to all workers:101',
    ]);
    expect(service.signals).toEqual(['SIGTERM 101', 'SIGTERM 101']);
  });
});

describe('the status file', () => {
  const path = () => join(directory, 'status');

  test('is written anew when an attempt fails, with the same text', () => {
    const file = new StatusFile(path());
    file.check();
    const service = new Service({}, file);
    service.after(1000);
    expect(readFileSync(path(), 'utf8')).toBe('1:101\n');
    const before = statSync(path()).ino;
    service.signal('SIGHUP');
    expect(statSync(path()).ino).toBe(before);
    service.exit(2, 256);
    expect(readFileSync(path(), 'utf8')).toBe('1:101\n');
    expect(statSync(path()).ino).not.toBe(before);
    file.remove();
    expect(statSync(path(), { throwIfNoEntry: false })).toBeUndefined();
  });

  test('tells its generations', () => {
    expect(generationsIn('9:100\n10:101\n')).toEqual([9, 10]);
    expect(generationsIn('\nnonsense\n1:\n')).toEqual([]);
  });
});
