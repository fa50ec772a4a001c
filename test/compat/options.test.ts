import { describe } from 'vitest';
import type { Run } from './run';
import { sideBySide } from './side-by-side';

/** How one command line ends: exit code, standard error, and standard output where it is short. */
async function outcome(run: Run, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { ended, lines, output } = await run.command(args, { env });
  const shown = output.length > 1 ? [`(${output.length > 10 ? 'long' : 'short'} text)`] : output;
  return [`${ended.code}`, ...lines, ...shown].join(' | ').replace(/pid:\w+/, 'pid:STARTER');
}

function refusals(name: string, cases: readonly (readonly [readonly string[], string])[]): void {
  sideBySide(
    name,
    async (run) => {
      const outcomes: string[] = [];
      for (const [args] of cases) outcomes.push(await outcome(run, args));
      return outcomes;
    },
    cases.map(([, expected]) => expected),
    undefined,
    'one',
  );
}

const BAD_PORT = "255 | start_server (pid:STARTER) starting now... | invalid ``port'' value:x";

describe('the command line', () => {
  refusals('is refused where it cannot be read', [
    [['--bogus', '--', 'true'], '1 | Unknown option: bogus'],
    [
      ['--BOGUS=3', '-qq', '---x', 'true'],
      '1 | Unknown option: bogus | Unknown option: qq | Unknown option: -x',
    ],
    [['--=3', 'true'], '1 | Unknown option: =3'],
    [['sleep', '--bogus'], '1 | Unknown option: bogus'],
    [['--p=1', 'true'], '1 | Option p is ambiguous (path, pid-file, port)'],
    [['--kill', '1', '--st', 'true'], '1 | Option st is ambiguous (status-file, stop)'],
    [['--port'], '1 | Option port requires an argument'],
    [['--path=', 'true'], '1 | Option path requires an argument'],
    [['--interval='], '1 | Option interval requires an argument'],
    [['--interval', ''], '1 | Value "" invalid for option interval (number expected)'],
    [['--interval=0.1', 'true'], '1 | Value "0.1" invalid for option interval (number expected)'],
    [['--int', '--version'], '1 | Value "--version" invalid for option interval (number expected)'],
    [
      ['--backlog=x', '--kill-old-delay=1s'],
      '1 | Value "x" invalid for option backlog (number expected) | Value "1s" invalid for option kill-old-delay (number expected)',
    ],
    [['--enable-auto-restart=1', 'true'], '1 | Option enable-auto-restart does not take an argument'],
    [['--version=3'], '1 | Option version does not take an argument'],
    [['--help', '--bogus'], '1 | Unknown option: bogus'],
  ]);

  refusals('is refused where something is missing', [
    [[], '255 | server program not specified'],
    [['--path', '--version'], '255 | server program not specified'],
    [['--port=x'], '255 | server program not specified'],
    [
      ['--daemonize', '--', 'true'],
      '255 | Usage: --log-file option must be specified together with --deamonize',
    ],
    [['--daemonize'], '255 | Usage: --log-file option must be specified together with --deamonize'],
    [['--restart'], '255 | --restart option requires --pid-file and --status-file to be set as well'],
    [
      ['--stop', '--restart', '--pid-file=pid'],
      '255 | --restart option requires --pid-file and --status-file to be set as well',
    ],
    [['--stop'], '255 | --stop option requires --pid-file to be set as well'],
  ]);

  // Whether a spelling is understood shows in that the port is refused, and nothing before it.
  refusals('is read with abbreviations, any prefix, any case, and options after the program', [
    [['--port=x', 'true'], BAD_PORT],
    [['--port', 'x', 'true'], BAD_PORT],
    [['-po', 'x', 'true'], BAD_PORT],
    [['+PORT=x', 'true'], BAD_PORT],
    [['true', '--port=x', '--interv', '+1_0'], BAD_PORT],
    [['--port=x', '--interval', '-5', '--int=99999999999999999999', 'true'], BAD_PORT],
    [['--port=x', '-', '--', '--bogus'], BAD_PORT],
    [['--port=x', '--log-file', '', 'true'], BAD_PORT],
    [
      ['--port=x', '--kill=1', '--auto=1', '--en', '--sig-nothing'],
      '1 | Option en is ambiguous (enable-auto-restart, envdir) | Unknown option: sig-nothing',
    ],
  ]);

  sideBySide(
    'is read as POSIX has it where POSIXLY_CORRECT is set',
    async (run) => {
      const posix = { POSIXLY_CORRECT: '1' };
      return [
        await outcome(run, ['--vers'], posix),
        await outcome(run, ['--port=x', 'true', '--bogus'], posix),
        await outcome(run, ['--port=x', '+version'], posix),
      ];
    },
    ['1 | Unknown option: vers', BAD_PORT, BAD_PORT],
    undefined,
    'one',
  );

  sideBySide(
    '--help and --version',
    async (run) => [
      await outcome(run, ['--help']),
      await outcome(run, ['--version', '-h', '--restart']),
      (await outcome(run, ['-v', '--restart'])).replace(/ \(prefork .*\)$/, ''),
    ],
    ['0 | (long text)', '0 | (long text)', '0 | 0.35'],
    undefined,
    'one',
  );
});

describe('what the original has not', () => {
  sideBySide(
    'a signal that does not exist',
    async (run) => {
      if (!run.isOriginal) return [await outcome(run, ['--signal-on-hup=FOO', '--', 'true'])];
      return ['found out when it is to be sent, and then there is no manager any more'];
    },
    ['found out when it is to be sent, and then there is no manager any more'],
    {
      why: 'better said at the start',
      ours: ['255 | --signal-on-hup: FOO is not a signal of this system'],
    },
  );
});
