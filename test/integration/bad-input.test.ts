/** Whatever is wrong with what was asked for: one clear line, the documented code, and nothing left behind. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engines, fixture, Service, type StartOptions } from '../helpers/service';

describe.each(engines)('bad input, %s engine', (engine) => {
  let directory: string;
  let service: Service | undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    chmodSync(directory, 0o755);
  });
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
    rmSync(directory, { recursive: true });
  });

  /** Runs to the end; the lines that are for people, and the exit code. */
  async function run(args: readonly string[], options: StartOptions = {}) {
    service = Service.start(args, { engine, ...options });
    const { code } = await service.exited;
    expect(service.processes()).toEqual([]);
    const lines = service.errors.split('\n').filter((line) => line.startsWith('prefork: '));
    return { code, lines, errors: service.errors };
  }

  const server = fixture('server.js');
  const bind = ['-w', '1', '-b', '127.0.0.1:0'];

  it.each<[string, string[], number, RegExp]>([
    ['no workers', ['-w', '0', server], 1, /--workers.*0/],
    ['too many workers', ['-w', '10000', server], 1, /--workers.*10000/],
    ['an unknown option', ['--workrs', '2', server], 1, /--workers/],
    ['a bad address', ['-b', '127.0.0.1:99999', server], 1, /--bind.*127\.0\.0\.1:99999/],
    ['an address without a port', ['-b', '127.0.0.1', server], 1, /--bind.*127\.0\.0\.1.*port/],
    [
      'an address of another machine',
      ['-b', '192.0.2.1:8080', server],
      4,
      /192\.0\.2\.1:8080.*EADDRNOTAVAIL/,
    ],
    [
      'a socket path that is too long',
      ['-b', `unix:/tmp/${'x'.repeat(120)}`, server],
      1,
      /socket path of 125 bytes/,
    ],
    ['a missing entry', ['/nonexistent/server.js'], 1, /\/nonexistent\/server\.js/],
    ['a missing directory', ['--chdir', '/nonexistent', server], 1, /--chdir.*\/nonexistent/],
    ['a missing configuration', ['--config', '/nonexistent.json', server], 1, /\/nonexistent\.json/],
    ['a bad duration', ['--graceful-timeout', '3 parsecs', server], 1, /--graceful-timeout.*3 parsecs/],
    ['an unknown user', ['--user', 'nobody-at-all', server], 1, /--user/],
    ['an argument that node refuses', ['--node-arg=--no-such-flag', server], 1, /--no-such-flag/],
  ])('%s', async (_name, args, code, line) => {
    const result = await run(args);
    expect(result.lines).toHaveLength(1);
    expect(result.lines[0]).toMatch(line);
    expect(result.code).toBe(code);
  });

  it('a configuration of the wrong type', async () => {
    const file = join(directory, 'prefork.config.json');
    writeFileSync(file, JSON.stringify({ workers: 'many' }));
    const result = await run(['--config', file, server]);
    expect(result.lines).toHaveLength(1);
    expect(result.lines[0]).toMatch(/workers in .*"many"/);
    expect(result.code).toBe(1);
  });

  it('a configuration that cannot be read', async () => {
    const file = join(directory, 'prefork.config.json');
    writeFileSync(file, '{');
    const result = await run(['--config', file, server]);
    expect(result.lines).toHaveLength(1);
    expect(result.code).toBe(1);
  });

  it('a socket path that is a regular file', async () => {
    const path = join(directory, 'app.sock');
    writeFileSync(path, 'precious');
    const result = await run(['-w', '1', '-b', `unix:${path}`, server]);
    expect(result.lines).toHaveLength(1);
    expect(result.lines[0]).toContain(path);
    expect([1, 4]).toContain(result.code);
    expect(existsSync(path)).toBe(true);
  });

  it('a socket path where another service serves', async () => {
    const path = join(directory, 'app.sock');
    const env = { TEST_LISTEN: path };
    const entry = join(directory, 'unix.js');
    writeFileSync(
      entry,
      "require('node:http').createServer((q, r) => r.end('first')).listen(process.env.TEST_LISTEN);",
    );
    const first = Service.start(['-w', '1', '-b', `unix:${path}`, entry], { engine, env });
    await first.serving();
    const second = await run(['-w', '1', '-b', `unix:${path}`, entry], { env });
    expect(second.code).toBe(4);
    expect(second.lines[0]).toContain('EADDRINUSE');
    expect(existsSync(path)).toBe(true);
    expect((await first.stop()).code).toBe(0);
    await first.dispose();
    expect(readdirSync(directory)).toEqual(['unix.js']);
  });

  it('a socket file that a dead service left is taken over', async () => {
    const path = join(directory, 'app.sock');
    const args = ['-w', '1', '-b', `unix:${path}`, fixture(join('apps', 'unix.js'))];
    const env = { TEST_PATH: path };
    const first = Service.start(args, { engine, env });
    await first.serving();
    await first.stop('SIGKILL');
    await first.dispose();
    expect(existsSync(path)).toBe(true);
    service = Service.start(args, { engine, env });
    await service.serving();
    expect((await service.stop()).code).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it.runIf(process.getuid?.() === 0)('a port that needs a privilege which is not there', async () => {
    const wrap = [
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      '--inh-caps=-all',
      '--bounding-set=-all',
    ];
    const result = await run(['-w', '1', '-b', '127.0.0.1:80', server], { wrap });
    // Where net.ipv4.ip_unprivileged_port_start is 0, as in some containers, there is nothing to refuse.
    if (/:80 .*EACCES/.test(result.errors)) expect(result.code).toBe(4);
    expect(result.lines).toHaveLength(1);
  });

  it('a pid file of a process that lives but is no manager is taken, since nobody holds its lock', async () => {
    const pidFile = join(directory, 'service.pid');
    writeFileSync(pidFile, `${process.pid}\n`);
    // The js engine of a machine with an addon locks as well; without one it cannot.
    const env: Record<string, string> = engine === 'js' ? { PREFORK_ENGINE: 'js' } : {};
    service = Service.start([...bind, '--pid-file', pidFile, server], { engine, env });
    if (engine === 'native') {
      await service.serving();
      expect((await service.stop()).code).toBe(0);
    } else {
      // Without flock(2) a process that lives is believed.
      expect((await service.exited).code).toBe(1);
      expect(service.errors).toContain(`pid ${process.pid}`);
    }
  });
});
