import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runArguments } from '../../src/control/daemon';
import { controlPath } from '../../src/control/locate';
import { MAX_REQUEST_BYTES, parseRequest, parseResponse, type Request } from '../../src/control/protocol';
import { ControlServer } from '../../src/control/server';
import { loadBinding } from '../../src/engine/binding';
import { createLog } from '../../src/manager/log';

const json = fc.json({ maxDepth: 4 });
const questions: fc.Arbitrary<object> = fc.oneof(
  fc.constantFrom({ do: 'status' }, { do: 'status', memory: true }, { do: 'reload' }, { do: 'reopenLogs' }),
  fc.record({ do: fc.constant('stop'), graceful: fc.boolean() }),
  fc.record({ do: fc.constant('scale'), workers: fc.integer({ min: 1, max: 1024 }) }),
);

describe('requests', () => {
  it('are read whatever the line is, and come out whole or not at all', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), json), (line) => {
        const read = parseRequest(line);
        if ('problem' in read) expect(read.problem).toMatch(/./);
        else expect(Number.isSafeInteger(read.id)).toBe(true);
        parseResponse(line);
      }),
      { numRuns: 2000 },
    );
  });

  it('that are right are read as they are, whatever else is in them', () => {
    fc.assert(
      fc.property(
        questions,
        fc.nat(),
        fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), fc.jsonValue()),
        (question, id, more) => {
          const line = JSON.stringify({ ...more, v: 1, id, ...question });
          expect(parseRequest(line)).toEqual({ ...question, id });
        },
      ),
    );
  });
});

/** Both ways of listening: by the addon, and by name as where there is none. */
describe.each(['native', 'js'])('a control server, %s', (engine) => {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-'));
  const path = join(directory, 'control');
  const log = createLog({ format: 'json', level: 'silent', destination: 2 });
  const asked: Request[] = [];
  let server: ControlServer;

  beforeAll(async () => {
    const binding = engine === 'native' ? loadBinding().binding : null;
    server = new ControlServer(binding, log, (request, reply) => {
      asked.push(request);
      reply.succeed({});
    });
    const umask = process.umask(0);
    await server.open(path);
    expect(process.umask(umask)).toBe(0);
  });
  afterAll(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });

  async function send(chunks: readonly (string | Uint8Array)[]): Promise<string> {
    const socket = connect(path).on('error', () => {});
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    for (const chunk of chunks) socket.write(chunk);
    socket.end();
    await once(socket, 'close');
    return text;
  }

  it('makes its file with no rights for others, whatever the umask', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('understands a request however it is cut', async () => {
    const line = '{"v":1,"id":3,"do":"scale","workers":9}\n';
    for (let at = 1; at < line.length; at += 7) {
      asked.length = 0;
      expect(JSON.parse(await send([line.slice(0, at), line.slice(at)]))).toMatchObject({ id: 3, ok: true });
      expect(asked).toEqual([{ do: 'scale', workers: 9, id: 3 }]);
    }
  });

  it('takes nothing for a request that is none, and answers or closes each client, fed with anything', async () => {
    const bytes = fc.uint8Array({ maxLength: 2 * MAX_REQUEST_BYTES });
    const text = fc.oneof(fc.string(), json).map((part) => `${part}\n`);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(bytes, text), { minLength: 1, maxLength: 8 }), async (chunks) => {
        asked.length = 0;
        const answer = await send(chunks);
        for (const line of answer.split('\n').filter((each) => each !== '')) {
          expect(parseResponse(line)).not.toBeNull();
        }
        for (const request of asked)
          expect(parseRequest(JSON.stringify({ v: 1, ...request }))).toEqual(request);
      }),
      { numRuns: 40 },
    );
  });

  it('closes who begins a request and does not end it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      // What it wrote may not have been read yet: then it is reset.
      const socket = connect(path).on('error', () => {});
      await once(socket, 'connect');
      socket.write('{"v":1,"id":1,"do":"sta');
      await vi.waitUntil(() => vi.getTimerCount() > 0);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      vi.advanceTimersByTime(10_000);
      await closed;
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('where the control socket is', () => {
  it.each([
    [{ pidFile: null, control: null }, null],
    [{ pidFile: '/run/app.pid', control: '/x/y' }, '/x/y'],
    [{ pidFile: '/run/app.pid', control: null }, '/run/app.control'],
    [{ pidFile: '/run/app', control: null }, '/run/app.control'],
    [{ pidFile: '/run/.pid', control: null }, '/run/.pid.control'],
    [{ pidFile: `/${'x'.repeat(110)}`, control: null }, null],
  ])('%o', (paths, expected) => expect(controlPath(paths)).toBe(expected));
});

describe('the command line of a manager in the background', () => {
  it('is that of the one who asked for it, without the asking', () => {
    const given = {
      workers: '2',
      native: false,
      daemonize: true,
      bind: ['8080', 'unix:a b'],
      reusePort: true,
    } as const;
    expect(runArguments({ given, entry: 'server.js', args: ['--debug', '-w'], cwd: '/' })).toEqual([
      'run',
      '--workers=2',
      '--no-native',
      '--bind=8080',
      '--bind=unix:a b',
      '--reuse-port',
      'server.js',
      '--debug',
      '-w',
    ]);
    expect(runArguments({ given: {}, entry: '-odd.js', args: [], cwd: '/' })).toEqual([
      'run',
      '--',
      '-odd.js',
    ]);
  });
});
