/** The built `prefork` command, from outside: what it says, its exit codes, and what it leaves behind (nothing). */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const built = createRequire(__filename);
const { addRun } = built('../../dist/cli/run.js') as typeof import('../../src/cli/run');
const { givenOptions } = built('../../dist/cli/run-options.js') as typeof import('../../src/cli/run-options');
const { optionNames, longFlag } = built(
  '../../dist/options/schema.js',
) as typeof import('../../src/options/schema');

const COMMAND = resolve(__dirname, '../../dist/cli/prefork.js');

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-cli-'));
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  write('server.js', 'require("fs").writeFileSync("ran", "")');
  write('plain.txt', '');
  write('typed.json', '{ "workers": "four" }');
  write('typo.json', '{ "gracefulTimout": 3 }');
  write('broken.json', '{');
  write('throws.cjs', 'throw new Error("no database")');
  write('throws.mjs', 'throw new Error("no\\ndatabase")');
  mkdirSync(join(directory, 'config.json'));
  mkdirSync(join(directory, 'empty'));
  symlinkSync('nowhere.js', join(directory, 'dangling.js'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function prefork(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PREFORK_|NODE_)/.test(name));
  return spawnSync(process.execPath, [COMMAND, ...args], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...Object.fromEntries(inherited), ...env },
    timeout: 20_000,
  });
}

describe('bad input ends at once with one line and exit code 1', () => {
  const long = `unix:/${'x'.repeat(200)}`;
  it.each<[string, string[], RegExp, NodeJS.ProcessEnv?]>([
    [
      'unknown command',
      ['rum'],
      /unknown command 'rum'; did you mean run\? \(see prefork --help\) \[ERR_PREFORK_USAGE\]/,
    ],
    ['unknown command, nothing near', ['frobnicate'], /unknown command 'frobnicate' \(see/],
    [
      'a program without run',
      ['server.js', '-w', '4'],
      /unknown command 'server.js'; did you mean prefork run server.js -w 4\?/,
    ],
    ['a path without run', ['./empty'], /did you mean prefork run .\/empty\?/],
    [
      'options without run',
      ['-w4', 'server.js'],
      /unknown option '-w4'; did you mean prefork run -w4 server.js\?/,
    ],
    ["pm2's command", ['ls'], /unknown command 'ls'; did you mean status\? \(see prefork --help\)/],
    ["pm2's command, near another", ['show'], /unknown command 'show'; did you mean status\? \(see/],
    [
      "pm2's command that is none here",
      ['logs'],
      /unknown command 'logs'; follow the file of --log-file: tail -F/,
    ],
    ["help of pm2's command", ['help', 'monit'], /unknown command 'monit'; did you mean top\? \(see/],
    [
      "gunicorn's option",
      ['run', '-D', 'server.js'],
      /unknown option '-D'; did you mean prefork start, or --daemonize\? \(see prefork help run\)/,
    ],
    [
      "gunicorn's option, near another",
      ['run', '--reload', 'server.js'],
      /unknown option '--reload'; use node --watch while you develop/,
    ],
    [
      "gunicorn's option with a value",
      ['run', '--timeout=30', 'server.js'],
      /did you mean --heartbeat-timeout\?/,
    ],
    ['help of nothing', ['help', 'runn'], /unknown command 'runn'; did you mean run\?/],
    [
      'unknown option',
      ['run', '--worker', '4', 'server.js'],
      /unknown option '--worker'; did you mean --workers\? \(see prefork help run\)/,
    ],
    [
      'unknown option, swapped letters',
      ['run', '--graceful-tiemout=4', 'server.js'],
      /did you mean --graceful-timeout\?/,
    ],
    [
      'unknown option, camelCase',
      ['run', '--readyTimeout', '4', 'server.js'],
      /did you mean --ready-timeout\?/,
    ],
    ['unknown option, short', ['run', '-z', 'server.js'], /unknown option '-z'/],
    ['unknown option of doctor', ['doctor', '--jsn'], /unknown option '--jsn'; did you mean --json\?/],
    ['no entry', ['run'], /missing required argument 'entry'/],
    ['option without its value', ['run', '--bind'], /option '-b, --bind <addr>' argument missing/],
    [
      'missing entry',
      ['run', 'sever.js'],
      /cannot use the entry \S+sever.js: no such file; did you mean server.js\? \[ERR_PREFORK_ENTRY\]/,
    ],
    [
      'entry that is an empty directory',
      ['run', 'empty'],
      /neither a package.json with "main" nor an index.js/,
    ],
    ['entry that is a dangling link', ['run', 'dangling.js'], /dangling.js: no such file/],
    [
      'no workers',
      ['run', '-w', '0', 'server.js'],
      /--workers: 0 is too low; expected a whole number from 1 to 1024, or auto/,
    ],
    ['10,000,000 workers', ['run', '--workers=10000000', 'server.js'], /--workers: 10000000 is too high/],
    ['no number of workers', ['run', '-wx', 'server.js'], /--workers: "x" is text/],
    ['bad address', ['run', '-b', 'localhost', 'server.js'], /--bind: "localhost" has no port/],
    [
      'bad port',
      ['run', '-b', '127.0.0.1:65536', 'server.js'],
      /--bind: "127.0.0.1:65536" has a port that is no number from 0 to 65535/,
    ],
    [
      'socket path that is a regular file',
      ['run', '-b', 'unix:plain.txt', 'server.js'],
      /plain.txt: exists and is a regular file/,
    ],
    [
      'socket path too long',
      ['run', '-b', long, 'server.js'],
      /has a socket path of 201 bytes, and the system allows 10\d/,
    ],
    [
      'missing config',
      ['run', '--config', 'nowhere.json', 'server.js'],
      /nowhere.json: no such file or directory \(ENOENT\) \[ERR_PREFORK_CONFIG\]/,
    ],
    [
      'config that is a directory',
      ['run', '--config', 'config.json', 'server.js'],
      /config.json: not a file/,
    ],
    ['config that is no JSON', ['run', '--config', 'broken.json', 'server.js'], /broken.json: .*JSON/],
    [
      'config of the wrong type',
      ['run', '--config', 'typed.json', 'server.js'],
      /workers in \S+typed.json: "four" is text; expected a whole number/,
    ],
    [
      'config with a misspelt key',
      ['run', '--config', 'typo.json', 'server.js'],
      /unknown option "gracefulTimout"; did you mean gracefulTimeout\?/,
    ],
    ['config that throws', ['run', '--config', 'throws.cjs', 'server.js'], /throws.cjs: Error: no database/],
    [
      'config that throws two lines',
      ['run', '--config', 'throws.mjs', 'server.js'],
      /throws.mjs: Error: no \[/,
    ],
    [
      'missing directory',
      ['run', '--chdir', 'nowhere', 'server.js'],
      /--chdir: \S+nowhere: no such file or directory/,
    ],
    [
      'environment directory that is a file',
      ['run', '--envdir', 'plain.txt', 'server.js'],
      /--env-dir: \S+plain.txt: not a directory/,
    ],
    [
      'pid file in no directory',
      ['run', '--pid-file', 'no/pid', 'server.js'],
      /--pid-file: \S+no\/pid: the directory/,
    ],
    [
      'unknown user',
      ['run', '--user', 'no-such-user', 'server.js'],
      /there is no user no-such-user|--user needs the native engine/,
    ],
    ['bad variable', ['run', 'server.js'], /PREFORK_BACKLOG: "x" is text/, { PREFORK_BACKLOG: 'x' }],
    [
      'bad argument of node',
      ['run', '--node-arg', '--no-such', 'server.js'],
      /--node-arg: node \S+ says: bad option: --no-such/,
    ],
    [
      '--native without the addon',
      ['run', '--native', 'server.js'],
      /--native needs the addon, which did not load \(PREFORK_ENGINE=js is set\). Unset PREFORK_ENGINE, or run without --native. \[ERR_PREFORK_ADDON_MISSING\]/,
      { PREFORK_ENGINE: 'js' },
    ],
    [
      'a native option without the addon',
      ['run', '--umask', '022', 'server.js'],
      /--umask needs the native engine \(capability childLimits\), but the addon did not load/,
      { PREFORK_ENGINE: 'js' },
    ],
  ])('%s', (_what, args, message, env) => {
    const before = readdirSync(directory);
    const { status, stdout, stderr } = prefork(args, env);
    expect(stderr).toMatch(/^prefork: [^\n]+ \[ERR_PREFORK_[A-Z_]+\]\n$/);
    expect(stderr).toMatch(message);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(readdirSync(directory)).toEqual(before);
  });
});

describe('words of pm2 and gunicorn', () => {
  const { foreignHint } = built('../../dist/cli/foreign.js') as typeof import('../../src/cli/foreign');

  it.each([
    ...['ls', 'list', 'show', 'describe', 'monit', 'delete', 'logs', 'flush', 'startup', 'save'],
    ...['-D', '--daemon', '-p', '--pid', '-c', '-t', '--timeout', '-u', '-g', '-m', '-e', '-i', '-k'],
    ...['--access-logfile', '--error-logfile', '--reload', '--watch', '--threads', '--max-memory-restart'],
  ])('are not ours, and %s leads to what is', (word) => {
    const hint = foreignHint(word)!;
    const known = [...optionNames.map(longFlag), '--watch'];
    for (const [option] of hint.matchAll(/--[a-z-]+/g)) expect(known).toContain(option);
    const [, command] = /did you mean (\w+)\?/.exec(hint) ?? [];
    if (command) expect(['status', 'stop', 'top']).toContain(command);
    expect(known).not.toContain(word === '--watch' ? '' : word);
  });

  it('mean nothing to check, whose options are like those of clients, nor do those of objects', () => {
    const { status, stderr } = prefork(['check', '-k']);
    expect([status, stderr]).toEqual([
      2,
      "prefork: unknown option '-k' (see prefork help check) [ERR_PREFORK_CHECK_USAGE]\n",
    ]);
    for (const word of ['constructor', 'toString', '__proto__', '']) expect(foreignHint(word)).toBeNull();
  });

  it('are in the help, which fits a terminal of 80 columns from its examples on', () => {
    const { stdout } = prefork(['--help']);
    for (const word of [
      'pm2 start',
      'reload',
      'restart',
      'stop',
      'scale',
      'list',
      'monit',
      'logs',
      'startup',
    ]) {
      expect(stdout).toContain(word);
    }
    for (const word of ['-w 4 -b', '--daemon', '--timeout', '--reload', 'HUP USR1 TTIN TTOU', 'USR2']) {
      expect(stdout).toContain(word);
    }
    const lines = stdout.slice(stdout.indexOf('Examples:')).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  });
});

describe('help', () => {
  it('of the whole names every command and fits', () => {
    const { status, stdout } = prefork(['--help']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ {2}run <entry> \[args...\] /m);
    expect(stdout).toMatch(/^ {2}doctor /m);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it('of run names every option, signal and exit code, and fits', () => {
    const { status, stdout } = prefork(['help', 'run']);
    expect(status).toBe(0);
    for (const name of optionNames) {
      expect(stdout).toMatch(new RegExp(`^ {2}(-. |    )?.*${longFlag(name)}\\b`, 'm'));
    }
    expect(stdout).toMatch(/USR2 .*replace the manager/);
    expect(stdout).toMatch(/^ {2}3 .*no worker ever became ready/m);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(prefork(['run', '--help']).stdout).toBe(stdout);
  });

  it('comes on standard error with exit code 1 when nothing was asked for', () => {
    const { status, stdout, stderr } = prefork([]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^Usage: prefork <command>/);
  });

  it('--version prints the version of the package', () => {
    const { version } = built('../../package.json') as { version: string };
    expect(prefork(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n` });
  });
});

describe('doctor', () => {
  it('says as JSON what works and why not', () => {
    const { status, stdout } = prefork(['doctor', '--json'], { PREFORK_ENGINE: 'js' });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      engine: 'js',
      node: { version: process.versions.node },
      addon: { loaded: false, reason: 'PREFORK_ENGINE=js is set', advice: 'Unset PREFORK_ENGINE' },
      capabilities: expect.arrayContaining([
        { name: 'rusage', works: false, doc: expect.any(String), reason: 'needs the addon' },
      ]),
    });
  });

  it('says the same to people, and what to do', () => {
    const { status, stdout } = prefork(['doctor'], { PREFORK_ENGINE: 'js' });
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^Engine: js, since the addon did not load: PREFORK_ENGINE=js is set\n {2}Unset PREFORK_ENGINE\.$/m,
    );
    expect(stdout).toMatch(/^ {2}no {3}fork .*: needs the addon$/m);
  });

  it('tells an addon that is missing from one that does not load, and which file that is', () => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    try {
      // Where node-gyp-build looks instead of in the package.
      const env = { PREFORK_PREBUILD: directory };
      const missing = JSON.parse(prefork(['doctor', '--json'], env).stdout);
      expect(missing).toMatchObject({ engine: 'js', addon: { loaded: false, path: null, origin: null } });
      expect(missing.addon.reason).toMatch(/^No native build was found for platform=/);
      const path = join(directory, 'prebuilds', `${process.platform}-${process.arch}`, 'prefork.node');
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, 'no addon');
      const broken = JSON.parse(prefork(['doctor', '--json'], env).stdout);
      expect(broken).toMatchObject({ engine: 'js', addon: { loaded: false, path, origin: 'package' } });
      expect(broken.addon.reason).toContain(path);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('tells limits that many workers run into', () => {
    const { limits } = JSON.parse(prefork(['doctor', '--json']).stdout);
    expect(limits.openFiles).toBe(
      Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })) || null,
    );
    for (const name of ['processes', 'tasks', 'memoryBytes'])
      expect(limits[name] === null || limits[name] > 0, name).toBe(true);
  });

  it('knows in every case which engine it is, and each fact that does not hold has a reason', () => {
    const found = JSON.parse(prefork(['doctor', '--json']).stdout);
    expect(found.engine).toBe(found.addon.loaded ? 'native' : 'js');
    for (const fact of [...found.features, ...found.capabilities]) {
      expect(fact.works === true).toBe(fact.reason === null);
    }
  });
});

describe('the command line of run', () => {
  function parse(...argv: string[]) {
    const program = new Command().enablePositionalOptions().exitOverride();
    addRun(program);
    const run = program.commands[0]!;
    let read: unknown;
    run.action((entry: string, args: string[]) => {
      read = { given: givenOptions(run), entry, args };
    });
    program.parse(['run', ...argv], { from: 'user' });
    return read;
  }

  it('takes values in every usual way', () => {
    for (const argv of [['-w4'], ['-w', '4'], ['--workers', '4'], ['--workers=4']]) {
      expect(parse(...argv, 'server.js')).toEqual({ given: { workers: '4' }, entry: 'server.js', args: [] });
    }
  });

  it('leaves what follows the entry to the program', () => {
    const read = {
      given: { workers: '4' },
      entry: 'server.js',
      args: ['-w', '9', '--bind=1', '--', '--help'],
    };
    expect(parse('-w', '4', 'server.js', '-w', '9', '--bind=1', '--', '--help')).toEqual(read);
    expect(parse('-w', '4', '--', 'server.js', '-w', '9', '--bind=1', '--', '--help')).toEqual(read);
  });

  it('collects what may be repeated, and takes the last of the rest', () => {
    const argv = [
      '-b',
      '1',
      '--bind=2',
      '-b3',
      '--node-arg',
      '--inspect',
      '--trap-signal',
      'HUP=TERM',
      '-w1',
      '-w2',
      'x',
    ];
    expect(parse(...argv)).toMatchObject({
      given: { bind: ['1', '2', '3'], nodeArgs: ['--inspect'], trapSignals: ['HUP=TERM'], workers: '2' },
    });
  });

  it('knows flags, their opposites, and both spellings of --env-dir', () => {
    expect(parse('--native', '--reuse-port', '--env-dir', 'e', 'x')).toMatchObject({
      given: { native: true, reusePort: true, envDir: 'e' },
    });
    expect(parse('--no-native', '--no-reuse-port', '--envdir', 'e', 'x')).toMatchObject({
      given: { native: false, reusePort: false, envDir: 'e' },
    });
    expect(parse('x')).toEqual({ given: {}, entry: 'x', args: [] });
  });
});
