import { describe, expect, test } from 'vitest';
import { StarterExit } from '../../src/starter/exit';
import { parseCommandLine, secondsToMs } from '../../src/starter/options';
import { parsePort, placeSockets, portKeys } from '../../src/starter/ports';

function optionsOf(...argv: string[]) {
  const request = parseCommandLine(argv, false);
  if (request.do !== 'run') throw new Error(request.do);
  return request.options;
}

function refusalOf(run: () => unknown): { code: number; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof StarterExit) return { code: error.exitCode, message: error.message };
    throw error;
  }
  throw new Error('was not refused');
}

describe('the command line of start_server', () => {
  test('has the defaults of Server::Starter', () => {
    expect(optionsOf('server')).toEqual({
      program: ['server'],
      ports: [],
      paths: [],
      dir: null,
      intervalMs: 1000,
      signalOnHup: 'SIGTERM',
      signalOnTerm: 'SIGTERM',
      backlog: null,
      pidFile: null,
      statusFile: null,
      logFile: null,
      daemonize: false,
      killTimeoutMs: null,
      variables: {},
    });
  });

  test('keeps what follows -- as it is, and takes options from among the words before it', () => {
    const { program, ports } = optionsOf('server', '--port=1', 'one', '--port', '2', '--', '--port=3', '--');
    expect(program).toEqual(['server', 'one', '--port=3', '--']);
    expect(ports).toEqual(['1', '2']);
  });

  test('takes the last of several values', () => {
    const options = optionsOf('--interval=5', '--inter', '7', '--dir=a', '--dir=b', 'server');
    expect(options).toMatchObject({ intervalMs: 7000, dir: 'b' });
  });

  test('passes what is a variable too', () => {
    const { variables } = optionsOf('--envdir=d', '--enable', '--auto=9', '--kill-old=3', 'server');
    expect(variables).toEqual({
      ENVDIR: 'd',
      ENABLE_AUTO_RESTART: '1',
      AUTO_RESTART_INTERVAL: '9',
      KILL_OLD_DELAY: '3',
    });
  });

  test('knows signals by name in any case, with and without SIG, and by number', () => {
    expect(optionsOf('--signal-on-hup=quit', '--signal-on-term=SIGusr1', 's')).toMatchObject({
      signalOnHup: 'SIGQUIT',
      signalOnTerm: 'SIGUSR1',
    });
    expect(optionsOf('--signal-on-hup=15', 's').signalOnHup).toBe('SIGTERM');
    expect(refusalOf(() => optionsOf('--signal-on-hup=99', 's')).code).toBe(255);
  });

  test('does not let its own options shadow an abbreviation', () => {
    expect(optionsOf('--kill=3', 's').variables).toEqual({ KILL_OLD_DELAY: '3' });
    expect(parseCommandLine(['--rest', '--pid-file=p', '--status-file=s'], false)).toEqual({
      do: 'restart',
      pidFile: 'p',
      statusFile: 's',
      timeoutMs: 600_000,
    });
    expect(refusalOf(() => optionsOf('--kill-timeo=3', 's')).message).toBe('Unknown option: kill-timeo');
  });

  test('reads --kill-timeout as a duration above 0', () => {
    expect(optionsOf('--kill-timeout=1.5', 's').killTimeoutMs).toBe(1500);
    expect(optionsOf('--kill-timeout=250ms', 's').killTimeoutMs).toBe(250);
    expect(refusalOf(() => optionsOf('--kill-timeout=0', 's')).message).toContain('more than 0');
    expect(refusalOf(() => optionsOf('--kill-timeout=soon', 's')).message).toContain('is not a duration');
  });

  test('keeps times within what a timer can wait', () => {
    expect(secondsToMs('-5')).toBe(0);
    expect(secondsToMs('99999999999999999999')).toBe(2_147_483_647);
  });
});

describe('--port', () => {
  test.each([
    ['8080', { kind: 'tcp', host: null, port: 8080, fd: null, name: '8080' }],
    ['127.0.0.1:8080=0', { kind: 'tcp', host: '127.0.0.1', port: 8080, fd: 0, name: '127.0.0.1:8080' }],
    ['[::1]:u53', { kind: 'udp', host: '::1', port: 53, fd: null, name: '[::1]:53' }],
    ['::1:8080', { kind: 'tcp', host: '::1', port: 8080, fd: null, name: '[::1]:8080' }],
    ['[localhost]:1', { kind: 'tcp', host: 'localhost', port: 1, fd: null, name: 'localhost:1' }],
    [' 65535 ', { kind: 'tcp', host: null, port: 65_535, fd: null, name: '65535' }],
  ])('reads %j', (text, expected) => {
    expect(parsePort(text)).toEqual(expected);
  });

  test.each(['', 'x', '65536', '1=', '1=2=3', 'uu1', '1=9999999', ':', '80 80'])('refuses %j', (text) => {
    expect(refusalOf(() => parsePort(text))).toEqual({
      code: 255,
      message: `invalid \`\`port'' value:${text}`,
    });
  });

  test('tells UDP from TCP only where both are on one port', () => {
    expect(portKeys(['u53', '80', '[::1]:u80', '[::1]:80', 'u80'].map(parsePort))).toEqual([
      '53',
      '80',
      '[::1]:u80',
      '[::1]:80',
      'u80',
    ]);
  });

  test('places sockets where they are wanted, and the others around them', () => {
    expect(placeSockets([null, 4, null, 0, null])).toEqual([3, 4, 5, 0, 6]);
    expect(refusalOf(() => placeSockets([7, null, 7])).code).toBe(255);
  });
});
