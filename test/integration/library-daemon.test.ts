/** daemon(): a script that is a daemon by itself, by its commands; on both engines. */
import { chmodSync, existsSync, renameSync, watch } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ended, Ground, type Ran, ranOf } from '../helpers/commands';
import { tryKill } from '../helpers/marked';
import { engines, fixture } from '../helpers/service';

/** A test is half a dozen commands, each a Node.js that starts. */
vi.setConfig({ testTimeout: 90_000, hookTimeout: 30_000 });

describe.each(engines)('daemon(), %s engine', (engine) => {
  let ground: Ground;
  beforeEach(() => {
    ground = new Ground(engine);
  });
  afterEach(() => ground.dispose());

  function ctrl(command: string, options: object = {}): Promise<Ran> {
    const env = { PREFORK_TEST_OPTIONS: JSON.stringify(options) };
    return ranOf(ground.node([fixture('library/daemon.cjs'), command], env));
  }
  const pid = (): number => Number(ground.read('idle.pid'));
  const log = (name = 'idle.log'): { msg: string; [field: string]: unknown }[] =>
    ground
      .read(name)
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  const messages = (name?: string): string[] => log(name).map(({ msg }) => msg);

  /** Waits until the file says so. */
  async function said(text: string, file = 'idle.log'): Promise<void> {
    const watcher = watch(ground.directory);
    try {
      while (!existsSync(ground.path(file)) || !ground.read(file).includes(text)) {
        await new Promise((resolve) => watcher.once('change', resolve));
      }
    } finally {
      watcher.close();
    }
  }

  it('goes all the way from start to stop', async () => {
    expect(await ctrl('status')).toMatchObject({ code: 3, stdout: 'idle: not running\n' });
    const started = await ctrl('start');
    expect(started).toMatchObject({ code: 0, stdout: `idle: started, pid ${pid()}\n` });
    expect(started.stderr).toMatch(/preinit[\s\S]*cleanup/);
    await said('startup');
    const first = pid();
    expect(await ctrl('status')).toMatchObject({ code: 0, stdout: `idle: running, pid ${first}\n` });
    expect(await ctrl('start')).toMatchObject({ code: 0, stdout: `idle: already running, pid ${first}\n` });
    expect(await ctrl('reload')).toMatchObject({ code: 0, stdout: `idle: told to reload, pid ${first}\n` });
    await said('hangup');
    expect(await ctrl('restart')).toMatchObject({ code: 0, stderr: expect.stringContaining('preinit') });
    expect(pid()).not.toBe(first);
    await said(`"pid":${pid()}`);
    const second = pid();
    expect(await ctrl('stop')).toMatchObject({
      code: 0,
      stdout: `idle: stopped, pid ${second}\n`,
      stderr: '',
    });
    expect(await ctrl('stop')).toMatchObject({ code: 0, stdout: 'idle: not running\n' });
    expect(await ctrl('status')).toMatchObject({ code: 3 });
    expect(ground.files()).toEqual(['idle.log']);
    const once = ['startup', 'stopped', 'cleanup'];
    expect(messages()).toEqual(['init', 'startup', 'hangup', 'stopped', 'cleanup', 'init', ...once]);
    expect(log().filter(({ msg }) => msg === 'cleanup')).toMatchObject([
      { scope: 1, pidFile: true },
      { scope: 1, pidFile: true },
    ]);
    expect(ground.read('idle.log')).toContain('printed\n');
  });

  it('starts at reload where it does not run', async () => {
    expect(await ctrl('reload')).toMatchObject({ code: 0, stdout: expect.stringContaining('started') });
    await said('startup');
    expect(await ctrl('stop')).toMatchObject({ code: 0 });
  });

  it.each([
    ['preinit', 'idle: no coffee\n', false],
    ['init', 'idle: not started: no tea\n', true],
  ])('does not start where %s fails', async (fails, problem, ran) => {
    const started = await ctrl('start', { fails });
    expect(started.code).toBe(1);
    expect(started.stderr).toContain(problem);
    await ground.quiet();
    expect(existsSync(ground.path('idle.pid'))).toBe(false);
    expect(existsSync(ground.path('idle.log'))).toBe(ran);
  });

  it('ends as startup does, and cleans up', async () => {
    await ctrl('start', { fails: 'startup' });
    await ground.quiet();
    expect(messages()).toEqual(['init', 'startup', 'startup failed: no water', 'cleanup']);
    expect(await ctrl('status')).toMatchObject({ code: 3 });
  });

  it('goes on when hangup throws', async () => {
    await ctrl('start', { fails: 'hangup' });
    await ctrl('reload', { fails: 'hangup' });
    await said('the hook hangup failed: no milk');
    expect(await ctrl('stop')).toMatchObject({ code: 0 });
  });

  it('is stopped by force where it does not stop', async () => {
    const options = { fails: 'stop', stopTimeout: '300ms' };
    await ctrl('start', options);
    await said('startup');
    expect(await ctrl('stop', options)).toMatchObject({ code: 0 });
    expect(await ctrl('status')).toMatchObject({ code: expect.any(Number) });
    await ground.quiet();
  });

  it('tells of one that was killed, and starts over its pid file', async () => {
    await ctrl('start');
    const killed = pid();
    tryKill(killed, 'SIGKILL');
    await ended(killed);
    expect(await ctrl('status')).toMatchObject({ code: 1, stdout: 'idle: dead, and its pid file is left\n' });
    expect(await ctrl('stop')).toMatchObject({ code: 0, stdout: 'idle: not running\n' });
    expect(await ctrl('start')).toMatchObject({ code: 0 });
    expect(pid()).not.toBe(killed);
    expect(await ctrl('stop')).toMatchObject({ code: 0 });
  });

  it('opens its log file anew at USR1', async () => {
    await ctrl('start');
    await said('startup');
    renameSync(ground.path('idle.log'), ground.path('old.log'));
    process.kill(pid(), 'SIGUSR1');
    // The file is there when it was opened.
    await said('');
    await ctrl('reload');
    await said('hangup');
    expect(messages('old.log')).toEqual(['init', 'startup']);
    expect(await ctrl('stop')).toMatchObject({ code: 0 });
  });

  it('knows no other command', async () => {
    const { code, stderr } = await ctrl('dance');
    expect([code, stderr]).toEqual([
      1,
      'idle: there is no command dance: start, stop, restart, reload, status\n',
    ]);
  });

  it.each([
    [{ pidFile: '' }, 'pidFile of daemon(): "" is empty'],
    [{ startup: 3 }, 'startup of daemon(): 3 is no function'],
    [{ stopTimeout: 0 }, 'stopTimeout of daemon(): 0 is too short'],
    [{ user: 'nobody-there' }, 'user of daemon(): there is no user nobody-there'],
  ])('refuses %j', async (options, problem) => {
    const { code, stderr } = await ctrl('start', options);
    expect(code).toBe(1);
    expect(stderr).toContain(problem);
    expect(ground.files()).toEqual([]);
  });

  const isRoot = process.getuid!() === 0;
  it.skipIf(!isRoot)(`becomes another user${isRoot ? '' : ' (skipped: needs root)'}`, async () => {
    chmodSync(ground.directory, 0o755);
    const options = { user: 54_321, group: 54_322 };
    expect(await ctrl('start', options)).toMatchObject({ code: 0 });
    await said('startup');
    expect(log()[0]).toMatchObject({ uid: 54_321, gid: 54_322, groups: [54_322] });
    expect(await ctrl('stop', options)).toMatchObject({ code: 0 });
    // It may not remove the file, and leaves it empty: that is no trace of a crash.
    expect(ground.read('idle.pid')).toBe('');
    expect(await ctrl('status')).toMatchObject({ code: 3 });
  });
});
