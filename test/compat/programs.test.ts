import { spawnSync } from 'node:child_process';
import { connect, type NetConnectOpts } from 'node:net';
import { resolve } from 'node:path';
import { describe } from 'vitest';
import type { Run } from './run';
import { sideBySide } from './side-by-side';

const program = (name: string) => resolve(__dirname, 'programs', name);
const hasModule = spawnSync('perl', ['-MServer::Starter', '-e', '1']).status === 0;

/** All that the server says. */
function ask(options: NetConnectOpts): Promise<string> {
  return new Promise((done, failed) => {
    let text = '';
    connect(options)
      .setEncoding('utf8')
      .on('data', (chunk) => {
        text += chunk;
      })
      .once('end', () => done(text.trim()))
      .once('error', failed);
  });
}

async function serve(run: Run, command: readonly string[]): Promise<string[]> {
  const [first, second] = run.ports as readonly [number, number];
  const sockets = [`--port=127.0.0.1:${first}`, `--port=[::1]:${second}=0`, '--path=socket'];
  run.start(['--interval=0', ...sockets], { program: command });
  const askAll = async () =>
    run.normalise(
      [
        await ask({ host: '127.0.0.1', port: first }),
        await ask({ host: '::1', port: second }),
        await ask({ path: run.path('socket') }),
      ].join(', '),
    );
  const answers = [await run.stdout.next(/^serving 1/), await askAll()];
  run.signal('SIGHUP');
  answers.push(await run.stdout.next(/^serving 2/));
  await run.log.next(/^old worker W1 died/);
  answers.push(await askAll());
  run.signal('SIGTERM');
  return [...answers, await run.exitLine()];
}

const EXPECTED = [
  'serving 1',
  'generation 1 on 127.0.0.1:PORT1, generation 1 on [::1]:PORT2, generation 1 on socket',
  'serving 2',
  'generation 2 on 127.0.0.1:PORT1, generation 2 on [::1]:PORT2, generation 2 on socket',
  'exit code=0',
];

describe('programs that know nothing of us', () => {
  describe.skipIf(!hasModule)('with Server::Starter', () => {
    sideBySide('in Perl', (run) => serve(run, ['perl', program('hello.pl')]), EXPECTED);
  });

  sideBySide(
    'begin with SIGPIPE ignored, and nothing else',
    async (run) => {
      const script = 'grep SigIgn /proc/self/status >>"$COMPAT_EVENTS"; exec sh "$COMPAT_WORKER"';
      run.start(['--interval=0'], { program: ['sh', '-c', script] });
      const ignored = await run.events.next(/^SigIgn/);
      await run.finish();
      return [ignored];
    },
    ['SigIgn:\t0000000000001000'],
  );

  sideBySide('in Node.js', (run) => serve(run, [process.execPath, program('hello.cjs')]), EXPECTED);
});
