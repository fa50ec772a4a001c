/** `prefork check`: whether reloads of any server lose requests. */
import type { Command } from 'commander';
import { exitCodes, signalExitCode } from '../errors';
import type { CheckEvents } from '../check/check';
import type { CheckArguments } from '../check/options';

const AFTER_HELP = `
Every connection is either kept alive and asked without a pause, or opened for one request; both kinds run at
once. Nothing is forgiven: a connection refused, reset or closed under a request, an answer cut off or
with another status, and an answer that is late are failures. Only what HTTP/2 calls safe to send again is sent
again, once. The command is run without a shell; it may return before the reload is over, as
kill -HUP does, when --interval is long enough for the rest. It loads the server as hard as it answers:
name a test system, or give a --pause.

Exit codes:
  0           no request failed
  1           one did, or the command failed
  2           no verdict: bad usage, the first request failed, or the command cannot be run
  128 + n     interrupted by signal n

Examples:
  prefork check http://127.0.0.1:3000/ -- prefork reload --pid-file /run/app.pid
  prefork check --reloads 50 --interval 3s http://127.0.0.1:3000/health -- kill -HUP 4242
  prefork check --http2 --cacert ca.pem https://app.test/ -- pm2 reload app`;

/** Adds the command to `program`. */
export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .summary('find out whether reloads of any server lose requests')
    .description('Loads <url> while it runs <command> again and again, and counts every request that fails.')
    .usage('[options] <url> -- <command> [args...]')
    .argument('<url>', 'what to ask for: http://… or https://…')
    .argument('<command...>', 'what reloads the server')
    .option('-n, --reloads <n>', 'how often to run the command, 1 to 10000', '10')
    .option('-c, --connections <n>', 'connections that are kept alive, 0 to 1024', '16')
    .option('--one-shot <n>', 'loops that open a connection for each request, 0 to 1024', '4')
    .option('--interval <time>', 'load between the end of a command and the next', '1s')
    .option('--pause <time>', 'mean pause of a connection between two requests', '0')
    .option('--timeout <time>', 'longest time for a connection, and for an answer', '10s')
    .option('--command-timeout <time>', 'longest time for the command', '5m')
    .option('--expect-status <list>', 'statuses that count as answered', '2xx')
    .option('--http2', 'speak HTTP/2: by ALPN over https, with prior knowledge over http')
    .option('--cacert <file>', 'trust the certificates in this file')
    .option('--insecure', 'trust any certificate')
    .option('--unix-socket <path>', 'connect to this socket, whatever host the URL names')
    .option('--json', 'print one JSON object, for programs');
  command
    .addHelpText('after', AFTER_HELP)
    .action(async (url: string, line: string[], options: CheckArguments & { json?: boolean }) => {
      process.exitCode = await checkReloads(url, line, options);
    });
}

async function checkReloads(
  url: string,
  command: readonly string[],
  given: CheckArguments & { json?: boolean },
): Promise<number> {
  const { readCheckOptions } = require('../check/options') as typeof import('../check/options');
  const { check } = require('../check/check') as typeof import('../check/check');
  const { renderCheck } = require('../check/report') as typeof import('../check/report');
  const options = readCheckOptions(url, command, given);
  const stop = new AbortController();
  let interruptedBy: NodeJS.Signals | null = null;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interruptedBy = signal;
      stop.abort();
    });
  }
  const result = await check(options, progress(given.json === true, options.reloads), stop.signal);
  process.stdout.write(given.json ? `${JSON.stringify(result, null, 2)}\n` : renderCheck(result));
  if (interruptedBy !== null) return signalExitCode(interruptedBy);
  return { passed: exitCodes.ok, failed: exitCodes.unusable, none: exitCodes.noVerdict }[result.verdict];
}

function progress(isJson: boolean, reloads: number): CheckEvents {
  const say = (text: string): void => {
    if (!isJson) process.stdout.write(`prefork: ${text}\n`);
  };
  return {
    loading: () => say('the server answers; the load begins'),
    reloaded: (number, { problem, ms }, failures) =>
      say(
        `reload ${number} of ${reloads}: ${problem ?? `done in ${ms} ms`}, ${failures} ${failures === 1 ? 'request' : 'requests'} failed`,
      ),
  };
}
