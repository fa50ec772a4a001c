/**
 * A project and a machine as the documentation has them, in a directory of its own: commands are typed as they stand there. `prefork`,
 * `npx` and others are on the PATH, files of the system are in that directory, and each port stands for a free one.
 */
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { expect } from 'vitest';
import { Ground, type Ran, ranOf } from './commands';
import { freePorts } from './ports';
import { fixture, root, Service } from './service';

/** Where a port is meant by a number in a command or a program. */
const PORT = /(?<=-b |--port[ =]|127\.0\.0\.1:|\?\? |bind: )\d+\b/g;
const PORTS = ['80', '443', '3000', '8080', '9090', 'tls'] as const;

/** What is not everywhere, or would do what a test must not. */
const STAND_INS = {
  npx: 'exec "$@"',
  sudo: 'exec "$@"',
  pm2: 'exec prefork reload --pid-file "$RUN/app.pid"',
  systemctl: 'exec prefork reload --pid-file "$RUN/app.pid"',
  kubectl: 'test "$2" != restart || exec prefork reload --pid-file "$RUN/app.pid"',
  // As nc -U -N: what comes from standard input goes to the socket, then its end; until the other side ends, too.
  nc: `exec node -e 'const s = require("net").connect({ path: process.argv.at(-1), allowHalfOpen: true }); process.stdin.pipe(s).pipe(process.stdout)' -- "$@"`,
};

export class Stage {
  readonly ground = new Ground('native');
  readonly #ports: ReadonlyMap<string, number>;
  readonly #services: Service[] = [];

  private constructor(ports: readonly number[]) {
    this.#ports = new Map(PORTS.map((name, index) => [name, ports[index]!]));
    const bin = this.#directory('bin');
    for (const name of ['run', 'etc/systemd/system', 'var/log', 'node_modules']) this.#directory(name);
    // Workers of another user find their way, too.
    chmodSync(this.ground.directory, 0o755);
    symlinkSync(process.env.PREFORK_TEST_NODE ?? process.execPath, join(bin, 'node'));
    symlinkSync(join(root, 'dist', 'cli', 'prefork.js'), join(bin, 'prefork'));
    symlinkSync(join(root, 'dist', 'cli', 'start-server.js'), join(bin, 'start_server'));
    for (const [name, script] of Object.entries(STAND_INS))
      this.script(`bin/${name}`, `#!/bin/sh\n${script}\n`);
    symlinkSync(root, this.ground.path('node_modules/prefork'));
    symlinkSync(join(root, 'node_modules', 'prom-client'), this.ground.path('node_modules/prom-client'));
    symlinkSync(join(root, 'examples'), this.ground.path('examples'));
    copyFileSync(fixture('worker-cert.pem'), this.ground.path('ca.pem'));
  }

  static async set(): Promise<Stage> {
    return new Stage(await freePorts(PORTS.length));
  }

  port(name: (typeof PORTS)[number]): number {
    return this.#ports.get(name)!;
  }

  #directory(name: string): string {
    mkdirSync(this.ground.path(name), { recursive: true });
    return this.ground.path(name);
  }

  script(name: string, text: string): void {
    writeFileSync(this.ground.path(name), text, { mode: 0o755 });
  }

  /** A command or a program of the documentation, for here: and what only repeats or waits, fewer times and shorter. */
  here(text: string): string {
    return text
      .replace(PORT, (port) => String(this.#ports.get(port) ?? port))
      .replaceAll('https://app.test/', `https://localhost:${this.port('tls')}/`)
      .replaceAll('https://app.example/', `http://127.0.0.1:${this.port('3000')}/`)
      .replace(/(?<![\w.])\/(?=(run|etc|var\/log)\/)/g, `${this.ground.directory}/`)
      .replace(/\bprefork top\b/, 'prefork top -d 200ms')
      .replace(/ --(?:reloads|interval) \S+(?=.* -- )/g, '')
      .replace(/\bprefork check\b/, 'prefork check --reloads 1 --interval 100ms');
  }

  write(name: string, code: string): void {
    this.ground.write(name, this.here(code));
  }

  get #env(): Record<string, string> {
    const { directory } = this.ground;
    const paths = [join(directory, 'bin'), dirname(process.execPath), process.env.PATH];
    return {
      PATH: paths.join(':'),
      PWD: directory,
      RUN: join(directory, 'run'),
      TEST_CERT: fixture('worker-cert.pem'),
      TEST_KEY: fixture('worker-key.pem'),
      TEST_PORT: String(this.port('tls')),
    };
  }

  /** To its end. */
  run(command: string): Promise<Ran> {
    const { directory, env } = this.ground;
    return ranOf(
      spawn('sh', ['-c', this.here(command)], {
        cwd: directory,
        env: { ...env, ...this.#env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
  }

  /** To its end, which is a good one. */
  async ok(command: string): Promise<Ran> {
    const ran = await this.run(command);
    expect(ran, `${command}\n${ran.stderr}`).toMatchObject({ code: 0 });
    return ran;
  }

  /** In the foreground. */
  serve(command: string, inherit: readonly number[] = []): Service {
    const service = Service.command(['sh', '-c', `exec ${this.here(command)}`], {
      cwd: this.ground.directory,
      env: this.#env,
      inherit,
    });
    this.#services.push(service);
    return service;
  }

  /** Waits for the good end of what was served last. */
  async ended(): Promise<void> {
    expect(await this.#services.at(-1)!.exited).toEqual({ code: 0, signal: null });
  }

  /** The pid in that file. */
  pid(file: string): number {
    return Number(this.ground.read(file));
  }

  async dispose(): Promise<void> {
    for (const service of this.#services) await service.dispose();
    await this.ground.dispose();
  }
}

/** The text at that path; the connection ends with it, and nobody waits for it afterwards. */
export async function get(where: number | string, path = '/'): Promise<string> {
  const to = typeof where === 'number' ? { host: '127.0.0.1', port: where } : { socketPath: where };
  const asked = request({ ...to, path, agent: false }).end();
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    asked.on('response', resolve).on('error', reject);
  });
  expect(response.statusCode).toBe(200);
  return textOf(response);
}
