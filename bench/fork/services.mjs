/** Ways of running a program of apps/ with several workers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { drivers } from '../drivers/index.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const command = [join(root, 'dist', 'cli', 'prefork.js'), 'run', '--native', '--log-format', 'json'];

export const services = {
  preload: { start: (options) => startPrefork(['--preload'], options) },
  spawn: { start: (options) => startPrefork([], options) },
  cluster: drivers['cluster-rr'],
  pm2: drivers.pm2,
};

/** `replace()` gives the time of one worker from its start to its listening. */
async function startPrefork(extra, { entry, workers, port }) {
  const args = [...command, ...extra, '--workers', String(workers), '--bind', `127.0.0.1:${port}`, entry];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  const events = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
  let last = '';
  const next = async (...names) => {
    for (;;) {
      const { value, done } = await events.next();
      if (done) throw new Error(`the service ended before ${names}: ${last}`);
      last = value;
      const event = parse(value);
      if (names.includes(event.event)) return event;
    }
  };
  const { pids } = await next('serving');
  return {
    pid: child.pid,
    pids,
    /** One worker is told to leave; the time that the one in its place took to listen. */
    async replace(pid) {
      process.kill(pid, 'SIGTERM');
      return await next('worker-ready');
    },
    async stop() {
      child.kill('SIGTERM');
      // Its log has to be read for it to end.
      for (let line = await events.next(); !line.done; line = await events.next());
      await exited;
    },
  };
}

/** What a worker prints is not of the log. */
function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}
