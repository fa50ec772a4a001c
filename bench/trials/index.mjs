/** What is measured of a running server. `higher` says which way is better. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Connections of every load; wrk has one thread, so that the server gets the rest of the machine. */
const CONNECTIONS = 64;

export const trials = {
  'keep-alive': { unit: 'requests/s', higher: true, run: (service) => wrk(service, []) },
  'one-a-connection': {
    unit: 'requests/s',
    higher: true,
    run: (service) => wrk(service, ['-H', 'Connection: close']),
  },
};

async function wrk({ port, seconds }, headers) {
  const { stdout } = await run('wrk', [
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    '--latency',
    ...headers,
    `http://127.0.0.1:${port}/`,
  ]);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  if (!(rate > 0)) throw new Error(`wrk said: ${stdout}`);
  const failed = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? '0';
  return { value: rate, p99Ms: toMs(/99%\s+([\d.]+\w+)/.exec(stdout)?.[1]), failed: Number(failed) };
}

function toMs(text) {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text ?? '') ?? [];
  return number === undefined ? null : Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit];
}
