/** From an invocation to options that can be run, and every way in which that is refused. Runs against dist. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PreforkError } from '../../src/errors';
import type { RunOptions } from '../../src/options/load';
import type { GivenOptions } from '../../src/options/sources';

const built = createRequire(__filename);
const { loadRunOptions, logicalCwd } = built(
  '../../dist/options/load.js',
) as typeof import('../../src/options/load');
const { resolveCredentials } = built(
  '../../dist/options/credentials.js',
) as typeof import('../../src/options/credentials');
const { MAX_WORKERS, optionNames, variableName } = built(
  '../../dist/options/schema.js',
) as typeof import('../../src/options/schema');
const { loadBinding } = built('../../dist/engine/binding.js') as typeof import('../../src/engine/binding');
const hasAddon = loadBinding().binding !== null;

let directory: string;
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'prefork-load-')));
  write('server.js', '');
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
}

interface Setting {
  given?: GivenOptions;
  file?: unknown;
  env?: Record<string, string>;
  entry?: string;
  cwd?: string;
}

function attempt({ given = {}, file, env = {}, entry = 'server.js', cwd = directory }: Setting) {
  if (file !== undefined) {
    write('prefork.config.json', JSON.stringify(file));
  }
  return loadRunOptions({ given, entry, args: ['--debug'], cwd }, { PATH: process.env.PATH, ...env });
}

async function accepted(setting: Setting): Promise<RunOptions> {
  const result = await attempt(setting);
  if (result instanceof Error) {
    throw result;
  }
  return result;
}

async function refused(setting: Setting): Promise<PreforkError> {
  const result = await attempt(setting);
  if (!(result instanceof Error)) {
    throw new Error('it was accepted');
  }
  expect(result.message).not.toContain('\n');
  return result;
}

describe('options', () => {
  it('have the documented defaults', async () => {
    expect(await accepted({})).toMatchObject({
      workers: availableParallelism(),
      bind: [],
      backlog: null,
      reusePort: false,
      ready: 'listen',
      intervalMs: 1000,
      readyTimeoutMs: 60_000,
      gracefulTimeoutMs: 30_000,
      keepaliveLingerMs: null,
      maxRequests: 0,
      maxRequestsJitter: 0,
      rollout: 'surge',
      rolloutBatch: 1,
      rolloutReady: 1,
      onManagerDeath: 'stop',
      signals: 'prefork',
      trapSignals: null,
      pidFile: null,
      credentials: null,
      umask: null,
      daemonize: false,
      logLevel: 'info',
      nodeArgs: [],
      entry: join(directory, 'server.js'),
      args: ['--debug'],
      cwd: directory,
      configFile: null,
    });
  });

  it('come from the command line before the file before the environment', async () => {
    const env = {
      PREFORK_WORKERS: '1',
      PREFORK_BACKLOG: '10',
      PREFORK_READY_TIMEOUT: '7',
      PREFORK_BIND: '1 [::1]:2',
    };
    const file = { workers: 2, backlog: 20 };
    const options = await accepted({ given: { workers: '3' }, file, env: { ...env, PREFORK_NATIVE: '' } });
    expect(options).toMatchObject({ workers: 3, backlog: 20, readyTimeoutMs: 7000 });
    expect(options.bind).toEqual([
      { kind: 'tcp', host: null, port: 1 },
      { kind: 'tcp', host: '::1', port: 2 },
    ]);
    expect(options.configFile).toBe(join(directory, 'prefork.config.json'));
  });

  it('are read from a file as from the command line', async () => {
    const file = {
      workers: 'auto',
      bind: [8080, 'unix:app.sock'],
      gracefulTimeout: 90,
      readyTimeout: '500ms',
      rolloutReady: 0.5,
      trapSignals: { hup: 'QUIT', TERM: 'SIGINT' },
      nodeArgs: '--no-warnings',
      reusePort: false,
    };
    const given: GivenOptions = {
      workers: 'auto',
      bind: ['8080', 'unix:app.sock'],
      gracefulTimeout: '90',
      readyTimeout: '500ms',
      rolloutReady: '50%',
      trapSignals: ['hup=QUIT', 'TERM=SIGINT'],
      nodeArgs: ['--no-warnings'],
      reusePort: false,
    };
    const fromLine = await accepted({ given });
    const fromFile = await accepted({ file });
    expect(fromFile).toEqual({
      ...fromLine,
      configFile: fromFile.configFile,
      invocation: fromFile.invocation,
    });
    expect(fromLine).toMatchObject({
      bind: [{ port: 8080 }, { kind: 'unix', path: join(directory, 'app.sock') }],
      gracefulTimeoutMs: 90_000,
      readyTimeoutMs: 500,
      rolloutReady: 0.5,
      trapSignals: { SIGHUP: 'SIGQUIT', SIGTERM: 'SIGINT' },
    });
  });

  it('can be turned off again on the command line', async () => {
    const file = { reusePort: true, native: true };
    expect(await accepted({ file, given: { reusePort: false, native: false } })).toMatchObject({
      reusePort: false,
      engine: 'js',
      engineReason: '--no-native is given',
    });
  });

  it.runIf(hasAddon)('that take the addon are taken with it', async () => {
    const { uid, gid } =
      process.getuid!() === 0
        ? { uid: 65_534, gid: 65_533 }
        : { uid: process.getuid!(), gid: process.getgid!() };
    const file = { umask: '027', user: uid, group: String(gid), bind: 'udp:53' };
    expect(await accepted({ file })).toMatchObject({
      engine: 'native',
      engineReason: null,
      umask: 0o027,
      credentials: { uid, gid, groups: expect.arrayContaining([gid]) },
      bind: [{ kind: 'udp', host: null, port: 53 }],
    });
  });

  it('know their variables by names that no two share', () => {
    expect(new Set(optionNames.map(variableName)).size).toBe(optionNames.length);
  });
});

describe('values that are refused', () => {
  it.each<[GivenOptions, RegExp]>([
    [{ workers: '0' }, /^--workers: 0 is too low; expected a whole number from 1 to/],
    [{ workers: String(MAX_WORKERS + 1) }, /^--workers: \d+ is too high/],
    [{ workers: 'many' }, /^--workers: "many" is text; expected .* or auto$/],
    [{ workers: '1.5' }, /^--workers: 1.5 is not whole/],
    [{ workers: '' }, /^--workers: "" is text/],
    [{ bind: ['8080', 'foo'] }, /^--bind: "foo" has no port; expected an address such as/],
    [{ backlog: '0' }, /^--backlog: 0 is too low/],
    [
      { gracefulTimeout: 'soon' },
      /^--graceful-timeout: "soon" is not a duration; expected a duration such as/,
    ],
    [{ readyTimeout: '0' }, /^--ready-timeout: 0 is too short/],
    [{ ready: 'maybe' }, /^--ready: "maybe" is unknown; expected listen, start or message$/],
    [{ signals: 'unicorn' }, /^--signals: "unicorn" is unknown; expected prefork, ghost or starter$/],
    [{ rolloutReady: '80' }, /^--rollout-ready: "80" is no such share/],
    [{ rolloutReady: '0%' }, /^--rollout-ready: "0%" is no such share/],
    [{ umask: '888' }, /^--umask: "888" is no such mask/],
    [{ trapSignals: ['HUP'] }, /^--trap-signal: "" is not a signal/],
    [{ trapSignals: ['FOO=TERM'] }, /^--trap-signal: "FOO" is not a signal/],
    [{ trapSignals: ['KILL=TERM'] }, /^--trap-signal: "KILL" cannot be trapped/],
    [{ user: 'no/body' }, /^--user: "no\/body" is no name or number/],
    [{ pidFile: '' }, /^--pid-file: "" is empty/],
    [{ pidFile: 'x'.repeat(5000) }, /^--pid-file: "x{79}… is longer than 4095 characters/],
    [{ bind: Array.from({ length: 300 }, (_, n) => String(n)) }, /^--bind: .* has more than 256 entries/],
  ])('%j on the command line', async (given, message) => {
    const error = await refused({ given });
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: 'ERR_PREFORK_OPTION_VALUE', exitCode: 1 });
  });

  it.each<[unknown, RegExp]>([
    [{ workers: '4' }, /^workers in \S+prefork.config.json: "4" is text; expected a whole number/],
    [{ workers: null }, /workers in .*: null is null;/],
    [{ bind: { port: 1 } }, /bind in .*: \{"port":1\} is an object; expected an address/],
    [{ bind: [true] }, /bind in .*: true is a boolean;/],
    [{ gracefulTimeout: true }, /gracefulTimeout in .*: true is a boolean; expected a duration/],
    [{ gracefulTimeout: -1 }, /gracefulTimeout in .*: -1 is not a duration/],
    [{ reusePort: 'yes' }, /reusePort in .*: "yes" is text; expected true or false/],
    [{ umask: 18 }, /umask in .*: 18 is a number; expected octal digits/],
    [{ trapSignals: { HUP: 1 } }, /trapSignals in .*: 1 is a number/],
    [{ trapSignals: ['HUP=TERM'] }, /trapSignals in .*: \["HUP=TERM"\] is a list/],
    [{ ready: 3 }, /ready in .*: 3 is a number; expected listen, start or message/],
    [{ nodeArgs: [1] }, /nodeArgs in .*: 1 is a number/],
  ])('%j in a file', async (file, message) => {
    const error = await refused({ file });
    expect(error.message).toMatch(message);
    expect(error.code).toBe('ERR_PREFORK_OPTION_VALUE');
  });

  it.each([
    [{ worker: 4 }, 'unknown option "worker"; did you mean workers?'],
    [{ graceful_timeout: 4 }, 'unknown option "graceful_timeout"; did you mean gracefulTimeout?'],
    [{ config: 'x' }, 'unknown option "config"'],
    [{ colour: 'red' }, 'unknown option "colour"'],
  ])('%j names no option', async (file, message) => {
    const error = await refused({ file });
    expect(error.message).toBe(`${join(directory, 'prefork.config.json')}: ${message}`);
    expect(error.code).toBe('ERR_PREFORK_OPTION_UNKNOWN');
  });

  it('"__proto__" is an unknown option too', async () => {
    write('prefork.config.json', '{ "__proto__": { "workers": 9 } }');
    expect((await refused({})).message).toMatch(/unknown option "__proto__"/);
  });

  it('a variable is named as such', async () => {
    expect((await refused({ env: { PREFORK_WORKERS: 'x' } })).message).toMatch(
      /^PREFORK_WORKERS: "x" is text/,
    );
    expect((await refused({ env: { PREFORK_REUSE_PORT: 'perhaps' } })).message).toMatch(
      /^PREFORK_REUSE_PORT: "perhaps" is text; expected true or false/,
    );
  });
});

describe('options that do not go together', () => {
  it.each<[GivenOptions, RegExp]>([
    [{ daemonize: true }, /^--daemonize needs --log-file/],
    [{ interval: '2s' }, /^--interval has no effect without --ready start/],
    [{ rolloutBatch: '2' }, /^--rollout-batch has no effect without --rollout rolling/],
    [{ maxRequestsJitter: '5' }, /^--max-requests-jitter has no effect without --max-requests/],
    [{ maxAge: '999ms' }, /^--max-age: 999ms is too little; expected at least 1s$/],
    [{ maxMemory: '16383KiB' }, /^--max-memory: 16383KiB is too little; expected at least 16MiB$/],
    [{ minWorkers: '2' }, /^--min-workers has no effect without --max-workers$/],
    [{ minSpare: '2' }, /^--min-spare has no effect without --max-workers$/],
    [{ maxSpare: '2' }, /^--max-spare has no effect without --max-workers$/],
    [{ minWorkers: '5', maxWorkers: '4' }, /^--min-workers: 5 is more than --max-workers 4$/],
    [{ minSpare: '5', maxWorkers: '4' }, /^--min-spare: 5 is more than --max-workers 4$/],
    [{ workers: '5', maxWorkers: '4' }, /^--workers: 5 is not from --min-workers 1 to --max-workers 4$/],
    [
      { workers: '1', minWorkers: '2', maxWorkers: '4' },
      /^--workers: 1 is not from --min-workers 2 to --max-workers 4$/,
    ],
    [{ maxWorkers: '4', maxSpare: '1' }, /^--max-spare: 1 is to be more than --min-spare 1$/],
    [{ maxWorkers: '4', scoreboard: false }, /^--max-workers needs the scoreboard/],
    [
      { reusePort: true, bind: ['unix:a.sock'] },
      /^--reuse-port is for TCP and UDP addresses, not for unix:a.sock/,
    ],
    [{ bind: ['8080', '9090', ':8080'] }, /^--bind names 8080 twice/],
    [{ bind: ['unix:a.sock', 'unix:./a.sock'] }, /^--bind names unix:\S+a.sock twice/],
    [{ controlToken: 'x' }, /^--control-token has no effect without --metrics$/],
    [{ pidFile: 'x', statusFile: './x' }, /^--status-file and --pid-file are both ".\/x"/],
  ])('%j', async (given, message) => {
    const error = await refused({ given });
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: 'ERR_PREFORK_OPTION_CONFLICT', exitCode: 1 });
  });

  it.each<[GivenOptions, object]>([
    [{ workers: '3' }, { workers: 3, minWorkers: null, maxWorkers: null, elastic: null }],
    [
      { maxWorkers: '9' },
      { workers: 1, minWorkers: 1, maxWorkers: 9, elastic: { minSpare: 1, maxSpare: 2 } },
    ],
    [
      { maxWorkers: '9', minSpare: '3', minWorkers: '2' },
      { workers: 3, elastic: { minSpare: 3, maxSpare: 6 } },
    ],
    [
      { maxWorkers: '4', workers: '4', minWorkers: '4' },
      { workers: 4, minWorkers: 4, maxWorkers: 4 },
    ],
    [
      { maxAge: '1s', maxMemory: '16MiB' },
      { maxAgeMs: 1000, maxMemoryBytes: 16 * 1024 * 1024 },
    ],
    [{ spare: '0' }, { spare: 0, maxAgeMs: 0, maxMemoryBytes: 0 }],
  ])('%j is a pool', async (given, expected) => {
    expect(await accepted({ given })).toMatchObject(expected);
  });

  it('two listeners on any free port are two', async () => {
    expect((await accepted({ given: { bind: ['127.0.0.1:0', '127.0.0.1:0'] } })).bind).toHaveLength(2);
  });

  it('needs of the js engine are named, with where they were asked for', async () => {
    const cases: [GivenOptions, RegExp][] = [
      [
        { umask: '022' },
        /^--umask needs the native engine \(capability childLimits\), but --no-native is given$/,
      ],
      [{ user: 'root' }, /^--user needs .*childCredentials/],
      [{ bind: ['udp:53'] }, /^--bind with udp: needs .*capability udp/],
    ];
    for (const [given, message] of cases) {
      const error = await refused({ given: { ...given, native: false } });
      expect(error.message).toMatch(message);
      expect(error.code).toBe('ERR_PREFORK_CAPABILITY');
    }
    expect((await refused({ file: { native: false, umask: '022' } })).message).toMatch(
      /^umask in \S+ needs .*, but native in \S+ is off$/,
    );
  });
});

describe('files and directories', () => {
  it('are looked up from --chdir, and --chdir from the working directory', async () => {
    mkdirSync(join(directory, 'app'));
    writeFileSync(join(directory, 'app', 'main.js'), '');
    writeFileSync(
      join(directory, 'app', 'prefork.config.json'),
      '{ "statusFile": "s", "logFile": "/tmp/l" }',
    );
    expect(
      await accepted({ given: { chdir: 'app', pidFile: 'p', bind: 'unix:b' }, entry: 'main.js' }),
    ).toMatchObject({
      cwd: join(directory, 'app'),
      entry: join(directory, 'app', 'main.js'),
      pidFile: join(directory, 'app', 'p'),
      statusFile: join(directory, 'app', 's'),
      logFile: '/tmp/l',
      bind: [{ path: join(directory, 'app', 'b') }],
      configFile: join(directory, 'app', 'prefork.config.json'),
    });
  });

  it('a directory that is not there is named before a configuration is run in it', async () => {
    write('c.mjs', 'export default {}');
    const error = await refused({ given: { chdir: 'nowhere', config: join(directory, 'c.mjs') } });
    expect(error.message).toMatch(/^--chdir: \S+nowhere: no such file or directory/);
  });

  it('a chdir in a file starts from the file', async () => {
    mkdirSync(join(directory, 'etc'));
    mkdirSync(join(directory, 'app'));
    writeFileSync(join(directory, 'etc', 'c.json'), '{ "chdir": "../app", "pidFile": "p" }');
    writeFileSync(join(directory, 'app', 'server.js'), '');
    expect(await accepted({ given: { config: 'etc/c.json' } })).toMatchObject({
      cwd: join(directory, 'app'),
      entry: join(directory, 'app', 'server.js'),
      pidFile: join(directory, 'app', 'p'),
    });
  });

  it('a release that is a symbolic link is followed anew each time', async () => {
    for (const release of ['1', '2']) {
      mkdirSync(join(directory, release));
      writeFileSync(join(directory, release, 'server.js'), '');
    }
    const current = join(directory, 'current');
    symlinkSync('1', current);
    const before = await accepted({ cwd: current });
    expect(before).toMatchObject({ cwd: join(directory, '1'), entry: join(directory, '1', 'server.js') });
    rmSync(current);
    symlinkSync('2', current);
    const after = await loadRunOptions(before.invocation, {});
    expect(after).toMatchObject({ cwd: join(directory, '2'), entry: join(directory, '2', 'server.js') });
  });

  it('the name that the shell has for the working directory is kept, if it is one', () => {
    const link = join(directory, 'link');
    symlinkSync(process.cwd(), link);
    expect(logicalCwd({ PWD: link })).toBe(link);
    expect(logicalCwd({ PWD: directory })).toBe(process.cwd());
    expect(logicalCwd({ PWD: 'link' })).toBe(process.cwd());
    expect(logicalCwd({ PWD: join(directory, 'gone') })).toBe(process.cwd());
    expect(logicalCwd({})).toBe(process.cwd());
  });

  it.each<[GivenOptions, string, RegExp]>([
    [{ chdir: 'nowhere' }, 'ERR_PREFORK_PATH', /^--chdir: \S+nowhere: no such file or directory \(ENOENT\)$/],
    [{ chdir: 'server.js' }, 'ERR_PREFORK_PATH', /^--chdir: \S+server.js: not a directory$/],
    [{ envDir: 'nowhere' }, 'ERR_PREFORK_PATH', /^--env-dir: \S+nowhere: no such file or directory/],
    [{ envDir: 'server.js' }, 'ERR_PREFORK_PATH', /^--env-dir: \S+: not a directory/],
    [
      { pidFile: 'no/where' },
      'ERR_PREFORK_PATH',
      /^--pid-file: \S+no\/where: the directory \S+no: no such file/,
    ],
    [{ pidFile: '.' }, 'ERR_PREFORK_PATH', /^--pid-file: \S+: is a directory/],
    [{ pidFile: 'server.js/x' }, 'ERR_PREFORK_PATH', /^--pid-file: \S+: not a directory/],
    [{ statusFile: 'no/where' }, 'ERR_PREFORK_PATH', /^--status-file: .*no such file/],
    [{ statusFile: '.' }, 'ERR_PREFORK_PATH', /^--status-file: .*is a directory/],
    [{ logFile: 'no/where' }, 'ERR_PREFORK_PATH', /^--log-file: .*no such file/],
    [
      { control: 'server.js' },
      'ERR_PREFORK_PATH',
      /^--control: \S+server.js: exists and is a regular file; remove it/,
    ],
    [
      { control: `/${'x'.repeat(200)}` },
      'ERR_PREFORK_PATH',
      /^--control: \S+: has a socket path of 201 bytes/,
    ],
    [
      { bind: ['unix:server.js'] },
      'ERR_PREFORK_PATH',
      /^--bind: \S+server.js: exists and is a regular file; remove it/,
    ],
    [{ bind: ['unix:.'] }, 'ERR_PREFORK_PATH', /^--bind: \S+: exists and is a directory/],
    [{ bind: ['unix:no/where'] }, 'ERR_PREFORK_PATH', /^--bind: \S+: the directory \S+no: no such file/],
    [
      { bind: [`unix:${'x'.repeat(100)}`] },
      'ERR_PREFORK_PATH',
      /^--bind: \S+: has a socket path of \d+ bytes/,
    ],
    [
      { bind: [`unix:${'x'.repeat(200)}`] },
      'ERR_PREFORK_OPTION_VALUE',
      /^--bind: .* has a socket path of 200 bytes/,
    ],
    [
      { config: 'nowhere.json' },
      'ERR_PREFORK_CONFIG',
      /^cannot load the configuration \S+nowhere.json: no such file/,
    ],
    [
      { nodeArgs: ['--no-such-option'] },
      'ERR_PREFORK_NODE_ARG',
      /^--node-arg: node \S+ says: bad option: --no-such-option$/,
    ],
    [
      { nodeArgs: ['--max-old-space-size=lots'] },
      'ERR_PREFORK_NODE_ARG',
      /^--node-arg: node \S+ says: .*illegal value for flag --max-old-space-size=lots/,
    ],
    [{ nodeArgs: ['x.js'] }, 'ERR_PREFORK_NODE_ARG', /^--node-arg: "x.js" is no option of node/],
    [{ nodeArgs: ['--eval=1'] }, 'ERR_PREFORK_NODE_ARG', /^--node-arg: --eval=1 does not run the entry$/],
  ])('%j is refused', async (given, code, message) => {
    const error = await refused({ given });
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code, exitCode: 1 });
  });

  it.runIf(hasAddon)('an unknown user or group is refused', async () => {
    for (const name of ['user', 'group'] as const) {
      const error = await refused({ given: { [name]: 'nobody-at-all' } });
      expect(error.message).toMatch(new RegExp(`^--${name}: there is no ${name} nobody-at-all in /etc/`));
      expect(error).toMatchObject({ code: 'ERR_PREFORK_USER', exitCode: 1 });
    }
  });

  it('a path where a socket is may be listened on: whose it is, the one who binds finds out', async () => {
    const path = join(directory, 'live.sock');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      expect((await accepted({ given: { bind: ['unix:live.sock'] } })).bind).toEqual([
        { kind: 'unix', path },
      ]);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('arguments of node that it knows are taken, and nothing is run for it', async () => {
    const witness = join(directory, 'ran');
    write('preload.cjs', `require('fs').writeFileSync(${JSON.stringify(witness)}, '')`);
    const nodeArgs = ['--require=./preload.cjs', '--max-old-space-size=64', '--inspect-brk=0', '--cpu-prof'];
    expect((await accepted({ given: { nodeArgs } })).nodeArgs).toEqual(nodeArgs);
    expect(() => realpathSync(witness)).toThrow(/ENOENT/);
  });
});

describe('the entry', () => {
  it.each([
    ['server.js', 'server.js'],
    ['server', 'server.js'],
    ['./server.js', 'server.js'],
    ['with-main', 'with-main/lib/app.js'],
    ['with-main-directory', 'with-main-directory/lib/index.js'],
    ['with-index', 'with-index/index.js'],
    ['linked.js', 'server.js'],
  ])('%s is %s', async (entry, file) => {
    for (const name of ['with-main/lib', 'with-main-directory/lib', 'with-index']) {
      mkdirSync(join(directory, name), { recursive: true });
    }
    write('with-main/package.json', '{ "main": "lib/app" }');
    write('with-main/lib/app.js', '');
    write('with-main-directory/package.json', '{ "main": "lib" }');
    write('with-main-directory/lib/index.js', '');
    write('with-index/package.json', '{}');
    write('with-index/index.js', '');
    symlinkSync('server.js', join(directory, 'linked.js'));
    expect((await accepted({ entry })).entry).toBe(join(directory, file));
  });

  it.each([
    ['sever.js', /sever.js: no such file; did you mean server.js\?$/],
    ['nowhere/x.js', /x.js: no such file$/],
    ['server.js/x', /no such file|not a directory/],
    ['empty', /has neither a package.json with "main" nor an index.js$/],
    ['broken', /package.json: .*JSON/],
    ['loop.js', /no such file|symbolic links/],
  ])('%s is refused', async (entry, message) => {
    mkdirSync(join(directory, 'empty'));
    mkdirSync(join(directory, 'broken'));
    write('broken/package.json', '{');
    symlinkSync('loop.js', join(directory, 'loop.js'));
    const error = await refused({ entry });
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: 'ERR_PREFORK_ENTRY', exitCode: 1 });
  });
});

describe('users and groups', () => {
  const find = (user: string | null, group: string | null) => {
    const passwd = write(
      'passwd',
      '# local\nroot:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/false\n1001:x:2000:2000::/:\nbad:x:-1:y\n',
    );
    const groups = write(
      'group',
      'root:x:0:\nwww:x:33:\nssl:x:110:www,other\nlogs:x:4:root,www\nwwwx:x:5:xwww\n',
    );
    return resolveCredentials(user, group, { passwd, group: groups });
  };

  it('get the groups that list them, as initgroups does', () => {
    expect(find('www', null)).toEqual({ uid: 33, gid: 33, groups: [33, 110, 4] });
    expect(find('33', null)).toEqual({ uid: 33, gid: 33, groups: [33, 110, 4] });
    expect(find('www', 'ssl')).toEqual({ uid: 33, gid: 110, groups: [110, 4] });
    expect(find('root', '7')).toEqual({ uid: 0, gid: 7, groups: [7, 4] });
  });

  it('may be numbers without an entry, if the group is named', () => {
    expect(find('4711', '4712')).toEqual({ uid: 4711, gid: 4712, groups: [4712] });
    expect(find('4711', null)).toMatchObject({
      option: 'user',
      problem: expect.stringMatching(/uid 4711 has no entry/),
    });
  });

  it('a group alone leaves the user', () => {
    expect(find(null, 'ssl')).toEqual({ uid: process.getuid!(), gid: 110, groups: [110] });
  });

  it('must exist', () => {
    expect(find('bad', null)).toMatchObject({ option: 'user' });
    expect(find('none', null)).toMatchObject({ option: 'user' });
    expect(find('99999999999', '1')).toMatchObject({ option: 'user' });
    expect(find('www', 'none')).toMatchObject({ option: 'group' });
    expect(resolveCredentials('root', null, { passwd: '/nowhere', group: '/nowhere' })).toMatchObject({
      option: 'user',
    });
  });
});
