/** The pid file of `start_server`: waits for its turn, where a server that still runs has the file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PreforkError } from '../errors';
import { PidFile } from '../manager/pid-file';
import { fileError } from './system-errors';

/** Between two tries. */
const POLL_MS = 50;

/**
 * Locks the file, waiting for a holder's end if need be, and writes this process's id. Returns what removes it.
 * @throws StarterExit, with the errno, where it cannot be opened
 */
export async function claimPidFile(path: string): Promise<() => void> {
  for (;;) {
    const file = tryClaim(path);
    if (file !== null) {
      file.write(process.pid);
      return () => file.release();
    }
    await sleep(POLL_MS);
  }
}

function tryClaim(path: string): PidFile | null {
  try {
    return PidFile.claim(path);
  } catch (error) {
    if (error instanceof PreforkError && error.code === 'ERR_PREFORK_ALREADY_RUNNING') return null;
    throw fileError(error, `failed to open file:${path}: `);
  }
}
