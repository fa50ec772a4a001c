/** `start_server --stop`: TERM, then wait until the server has ended. */
import { starterLines } from './log-lines';
import { openPidFile, pidIn, sendSignal, waitForEnd } from './running';

/** @throws StarterExit where there is nothing to stop */
export async function stopServer(pidFile: string, say: (line: string) => void): Promise<void> {
  const pid = pidIn(pidFile);
  say(starterLines.stoppingNow(process.pid, pid));
  const fd = openPidFile(pidFile);
  sendSignal(pid, 'SIGTERM');
  await waitForEnd(fd, pid);
}
