/**
 * `start_server --restart`: HUP, then wait until only newer generations are in the status file. Server::Starter waits for
 * the very next number, for ever, and that one is skipped where the first new worker fails.
 */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { StarterExit, starterExit } from './exit';
import { isAlive, pidIn, sendSignal } from './running';
import { generationsIn, readText } from './status';

const POLL_MS = 50;
/** The new worker failed, or the time was up. */
const NOT_RESTARTED = 1;

export interface RestartRequest {
  readonly pidFile: string;
  readonly statusFile: string;
  readonly timeoutMs: number;
}

/** @throws StarterExit 1 where the new worker failed, the server ended or the timeout passed */
export async function restartServer({ pidFile, statusFile, timeoutMs }: RestartRequest): Promise<void> {
  const pid = pidIn(pidFile);
  const before = generationsIn(readText(statusFile));
  if (before.length === 0) {
    throw new StarterExit(starterExit.unusable, `no active process found in the status file ${statusFile}`);
  }
  const newest = Math.max(...before);
  let seen = look(statusFile);
  sendSignal(pid, 'SIGHUP');
  const endMs = performance.now() + timeoutMs;
  while (performance.now() < endMs) {
    await sleep(POLL_MS);
    const now = look(statusFile);
    if (now.generations.length > 0 && Math.min(...now.generations) > newest) return;
    // Written anew with nothing new in it: so the manager says that an attempt has failed.
    if (now.text === seen.text && now.inode !== seen.inode && Math.max(...now.generations) <= newest) {
      const serving = now.generations.join(', ');
      throw notRestarted(
        `the new worker failed to start; generation ${serving} goes on, and further attempts follow`,
      );
    }
    if (!isAlive(pid)) throw notRestarted(`the server process ${pid} has ended`);
    seen = now;
  }
  throw notRestarted(
    `the restart was not complete after ${timeoutMs / 1000} s; in the status file: ${seen.text.trim().replaceAll('\n', ' ')}`,
  );
}

interface Look {
  readonly text: string;
  readonly inode: number;
  readonly generations: readonly number[];
}

/** A file that has just gone is an empty one: the server is ending. */
function look(path: string): Look {
  const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
  const text = inode === 0 ? '' : readIfThere(path);
  return { text, inode, generations: generationsIn(text) };
}

function readIfThere(path: string): string {
  try {
    return readText(path);
  } catch {
    return '';
  }
}

const notRestarted = (message: string): StarterExit => new StarterExit(NOT_RESTARTED, message);
