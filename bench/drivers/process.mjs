/** A server under test: one process group of its own, started, waited for and stopped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:http';
import { createServer } from 'node:net';

/** Longest time from start to the first answer. */
const START_LIMIT_MS = 30_000;

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts `command` and resolves when `port` answers. `stop()` ends the whole group and waits for it. */
export async function startProcess(command, { env = {}, port, stopWith = 'SIGTERM' }) {
  const child = spawn(command[0], command.slice(1), {
    env: { ...process.env, ...env, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors = (errors + text).slice(-4096);
  });
  const exited = once(child, 'exit');
  const startedAt = performance.now();
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() - startedAt > START_LIMIT_MS) {
      child.kill('SIGKILL');
      throw new Error(`${command.join(' ')} did not come up: ${errors}`);
    }
  }
  return {
    pid: child.pid,
    async stop() {
      child.kill(stopWith);
      const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 10_000);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Whether a request is answered: a manager's socket accepts before there is a worker. */
function answers(port) {
  return new Promise((resolve) => {
    // Asked again after a moment: a tight loop would take the processor from what is starting.
    const again = () => setTimeout(resolve, 5, false);
    const request = get({ port, host: '127.0.0.1', agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode === 200));
    });
    request.once('error', again);
  });
}
