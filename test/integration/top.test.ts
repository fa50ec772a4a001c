import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, engines, fixture, Service } from '../helpers/service';
import { Terminal } from '../helpers/terminal';

const SERVER = fixture('server.js');
const LEFT = '\x1b[?1049l';

let directory: string;
let control: string;
let service: Service | null = null;
let terminal: Terminal | null = null;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  control = join(directory, 'control');
});
afterEach(async () => {
  await terminal?.dispose();
  await service?.dispose();
  terminal = service = null;
  rmSync(directory, { recursive: true });
});

const node = process.env.PREFORK_TEST_NODE ?? process.execPath;
const top = (): string[] => [node, cli, 'top', '-d', '200ms', '--control', control];

describe.each(engines)('prefork top, %s engine', (engine) => {
  it('shows workers as they come and go, obeys its keys, and leaves the terminal as it was', async () => {
    service = Service.start(['-w', '2', '-b', '127.0.0.1:0', '--control', control, SERVER], { engine });
    const { pids } = await service.serving();
    terminal = Terminal.start(top());
    const row = (slot: number): RegExp => new RegExp(`^ +${slot} +\\d+ `);
    await terminal.shows((screen) => [0, 1].every((slot) => screen.some((line) => row(slot).test(line))));

    process.kill(pids[0]!, 'SIGKILL');
    await terminal.shows((screen) => screen.some((line) => line.includes('was killed by SIGKILL')));
    service.signal('SIGHUP');
    await terminal.shows((screen) => screen[3]!.startsWith('generation 2 serves'));

    terminal.keys('/nothing');
    await terminal.shows((screen) => !screen.some((line) => row(0).test(line)));
    terminal.keys('\x1b');
    await terminal.shows((screen) => screen.some((line) => row(0).test(line)));
    terminal.resize(8, 40);
    // Every line is drawn anew, none wider.
    await terminal.shows((screen) => screen[7] === '' || /^1-2 of 2|^2 workers/.test(screen[7] ?? ''));
    const after = terminal.raw.length;
    terminal.keys('h');
    await terminal.shows(() => terminal!.raw.slice(after).includes('Left, Right'));

    terminal.keys('xq');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
    expect(terminal.raw.trimEnd().endsWith(LEFT)).toBe(true);
    expect(terminal.raw).toContain('\x1b[?25h');
    expect((await service.stop()).code).toBe(0);
  });
});

describe('prefork top', () => {
  const start = async (): Promise<Service> => {
    const started = Service.start(['-w', '1', '-b', '127.0.0.1:0', '--control', control, SERVER]);
    await started.serving();
    return started;
  };

  it.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)('gives the terminal back on %s', async (signal) => {
    service = await start();
    terminal = Terminal.start(top());
    await terminal.shows((screen) => screen.some((line) => line.startsWith('SLOT')));
    terminal.signal(signal);
    const { status, restored } = await terminal.ended;
    expect(restored).toBe(true);
    expect(status >> 8).toBe({ SIGTERM: 143, SIGHUP: 129, SIGINT: 130 }[signal]);
    expect(terminal.raw.trimEnd().endsWith(LEFT)).toBe(true);
  });

  it('gives the terminal to the shell on Ctrl-Z, and takes it again', async () => {
    service = await start();
    terminal = Terminal.start(top());
    await terminal.shows((screen) => screen.some((line) => line.startsWith('SLOT')));
    terminal.keys('\x1a');
    await terminal.says(LEFT);
    const left = terminal.raw.length;
    terminal.signal('SIGCONT');
    await terminal.shows(() => terminal!.raw.slice(left).includes('SLOT'));
    terminal.keys('q');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  it('says that the manager has gone, and finds it again', async () => {
    service = await start();
    terminal = Terminal.start(top());
    await terminal.shows((screen) => screen.some((line) => line.startsWith('SLOT')));
    await service.stop();
    await terminal.shows((screen) => screen[1]!.startsWith('no answer at '));
    service = await start();
    await terminal.shows(
      (screen) => screen[0]!.includes(`manager ${service!.pid}`) && screen[1]!.startsWith('http'),
    );
    terminal.keys('q');
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
  });

  it('prints once into a pipe and on a dumb terminal', async () => {
    service = await start();
    const [file, ...args] = top();
    const piped = spawnSync(file!, args, { encoding: 'utf8' });
    expect(piped).toMatchObject({ status: 0, stderr: '' });
    expect(piped.stdout).toMatch(/^prefork \S+ {2}running .*\n.*\n.*req\/s.*\n\nSLOT\^.*\n +0 .*\n$/);
    expect(piped.stdout).not.toContain('\x1b');
    terminal = Terminal.start(top(), { env: { TERM: 'dumb' } });
    expect(await terminal.ended).toEqual({ status: 0, restored: true });
    expect(terminal.raw).toContain('SLOT^');
    expect(terminal.raw).not.toContain('\x1b');
  });

  it('says in one line that there is no service, or that the delay is too short', () => {
    const [file, ...args] = top();
    expect(spawnSync(file!, args, { encoding: 'utf8' })).toMatchObject({ status: 7, stdout: '' });
    const often = spawnSync(file!, [...args, '-d', '199ms'], { encoding: 'utf8' });
    expect(often).toMatchObject({
      status: 1,
      stderr: 'prefork: --delay: at least 200ms [ERR_PREFORK_USAGE]\n',
    });
  });
});

describe('start, reload and stop on a terminal', () => {
  it('show how far they are, and end with the result', async () => {
    const service = ['--pid-file', 'app.pid'];
    const slow = join(directory, 'slow.js');
    // Slow to start and to end, so that there is something to see.
    writeFileSync(
      slow,
      `const server = require('node:http').createServer((q, s) => s.end('ok'));
       setTimeout(() => server.listen(0), 1500);
       process.on('SIGTERM', () => setTimeout(() => process.exit(0), 1500));`,
    );
    const run = async (...args: string[]): Promise<string> => {
      terminal = Terminal.start([node, cli, ...args], { cwd: directory });
      expect(await terminal.ended).toEqual({ status: 0, restored: true });
      return terminal.raw;
    };
    const started = await run('start', '-w', '2', ...service, '--log-file', 'app.log', slow);
    expect(started).toMatch(/\rstarting: 0 of 2 workers ready, \d+s/);
    expect(started).toMatch(/prefork: serving .* with 2 workers .*\r\n$/);
    const reloaded = await run('reload', ...service);
    expect(reloaded).toMatch(/\rgeneration 2: 0 of 2 workers ready, \d+s/);
    expect(reloaded).toMatch(/prefork: reloaded: generation 2 serves\r\n$/);
    const stopped = await run('stop', ...service);
    expect(stopped).toMatch(/\rstopping: \d workers left, \d+s/);
    expect(stopped).toMatch(/prefork: manager \d+ has stopped\r\n$/);
  });
});
