/** Whatever stands in the environment, a configuration file or on the command line is read, or refused in one line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCheckOptions } from '../../src/check/options';
import { PreforkError } from '../../src/errors';
import { passedSockets } from '../../src/manager/binds';
import { takeUpgradeTask } from '../../src/manager/upgrade-environment';
import { loadConfigFile } from '../../src/options/config-file';
import { resolveCredentials } from '../../src/options/credentials';
import { optionNames, optionSpec, variableName } from '../../src/options/schema';
import { parseSignal, parseTrappable } from '../../src/options/signal-name';
import { fromCommandLine, fromConfig, fromEnvironment } from '../../src/options/sources';
import { StarterExit } from '../../src/starter/exit';
import { parseCommandLine, secondsToMs } from '../../src/starter/options';
import { parsePort, placeSockets } from '../../src/starter/ports';
import { generationsIn } from '../../src/starter/status';
import { listeners, serverPorts } from '../../src/worker/inherited';

/** Words that mean something to one parser or another, and things to which every object has an answer. */
const telling = fc.constantFrom(
  ...[
    '0',
    '1',
    '-1',
    '1e3',
    '0x10',
    '1.5',
    '2147483648',
    '1048576',
    '1048577',
    '99999999999999999999',
    'NaN',
  ],
  ...[
    'true',
    'off',
    'auto',
    'TERM',
    'HUP=TERM',
    '=',
    'a=b',
    '10s',
    '500ms',
    '512MiB',
    '80%',
    '022',
    '[::1]:80',
  ],
  ...['unix:/x', 'fd:3', 'udp:1', 'systemd', 'surge', 'listen', '--', '-e', '\0', '\n', ' ', '٣', '１'],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'],
);
const word = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), telling);
const text = fc.oneof(
  word,
  fc.array(word, { maxLength: 6 }).map((words) => words.join(' ')),
);
const names = fc.constantFrom(...optionNames);

/** The error, which is one of ours and one line; null: it was taken. */
function refusal(read: () => unknown): PreforkError | null {
  try {
    read();
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(PreforkError);
    expect((error as Error).message).not.toMatch(/[\n\0]/);
    return error as PreforkError;
  }
}

describe('options', () => {
  it('of the environment are taken or refused by their name, and nothing else throws', () => {
    fc.assert(
      fc.property(fc.dictionary(names.map(variableName), text, { minKeys: 1, maxKeys: 3 }), (env) => {
        const error = refusal(() => fromEnvironment(env));
        if (error === null) return;
        expect(error.code).toBe('ERR_PREFORK_OPTION_VALUE');
        expect(Object.keys(env).some((name) => error.message.startsWith(`${name}: `))).toBe(true);
        expect(error.message).not.toContain('function');
      }),
      { numRuns: 1000 },
    );
  });

  it('of the command line too', () => {
    const given = fc.oneof(text, fc.array(text, { minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(names, given, (name, value) => {
        const isTaken = optionSpec(name).kind.isFlag || typeof value === 'string';
        refusal(() => fromCommandLine({ [name]: isTaken ? value : [value].flat() }));
      }),
      { numRuns: 1000 },
    );
  });

  it('of a configuration file too, whatever it holds', () => {
    const value = fc.oneof(fc.jsonValue(), text, fc.double(), fc.bigInt(), fc.array(text));
    const key = fc.oneof({ weight: 4, arbitrary: names as fc.Arbitrary<string> }, word);
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 3 }), (values) => {
        refusal(() => fromConfig(values, 'prefork.config.json'));
      }),
      { numRuns: 1000 },
    );
  });

  it('that lie deep are refused as others', () => {
    for (const depth of [2, 100, 100_000]) {
      const deep = JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;
      for (const name of ['workers', 'trapSignals', 'bind', 'nonsense']) {
        expect(refusal(() => fromConfig({ [name]: deep }, 'deep.json'))).not.toBeNull();
      }
    }
  });
});

describe('a configuration file of JSON', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-fuzz-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it('is an object or refused, whatever its bytes are', async () => {
    const file = join(directory, 'prefork.config.json');
    const json = fc.json().chain((good) => fc.nat(good.length).map((at) => good.slice(0, at)));
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json(), json, text);
    await fc.assert(
      fc.asyncProperty(bytes, async (content) => {
        writeFileSync(file, content);
        const read = await loadConfigFile(file, directory, {}).catch((error: unknown) => error);
        if (read instanceof Error) {
          expect(read).toMatchObject({ code: 'ERR_PREFORK_CONFIG' });
          expect(read.message).not.toContain('\n');
        } else
          expect(
            JSON.parse(
              Buffer.from(content as string)
                .toString()
                .replace(/^\uFEFF/, ''),
            ),
          ).toEqual(read);
      }),
      { numRuns: 200 },
    );
  });
});

describe('inherited sockets', () => {
  const count = fc.oneof(text, fc.nat(2000).map(String));
  const list = (separator: string) => fc.array(count, { maxLength: 8 }).map((parts) => parts.join(separator));
  const pid = fc.oneof(text, fc.constantFrom(String(process.pid), String(process.ppid)));
  const environment = fc.record(
    {
      SERVER_STARTER_PORT: fc.oneof(text, list(';'), list('=')),
      LISTEN_FDS: count,
      LISTEN_PID: pid,
      LISTEN_FDNAMES: fc.oneof(text, list(':')),
      EINHORN_FDS: fc.oneof(text, list(' ')),
      EINHORN_FD_COUNT: count,
      EINHORN_MASTER_PID: pid,
      EINHORN_FD_0: count,
    },
    { requiredKeys: [] },
  );

  it('are each named once, with a number that can be one, or there are none', () => {
    fc.assert(
      fc.property(environment, (env) => {
        const all = listeners(env);
        expect(new Set(all.map(({ fd }) => fd)).size).toBe(all.length);
        const fds = [...all.map(({ fd }) => fd), ...Object.values(serverPorts(env))];
        expect(fds.filter((fd) => !(Number.isInteger(fd) && fd >= 0 && fd <= 1_048_576))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('are 1024 at most', () => {
    expect(listeners({ LISTEN_FDS: '1024' })).toHaveLength(1024);
    for (const count of ['1025', '1048576']) {
      expect(listeners({ LISTEN_FDS: count, EINHORN_FD_COUNT: count })).toEqual([]);
    }
  });

  it('have every name that an address can have', () => {
    expect(Object.entries(serverPorts({ SERVER_STARTER_PORT: '__proto__=3;/a=b=4' }))).toEqual([
      ['__proto__', 3],
      ['/a=b', 4],
    ]);
  });

  it('that a manager is to serve on are as many as were passed to it, or are refused', () => {
    fc.assert(
      fc.property(environment, (env) => {
        const error = refusal(() => {
          expect(passedSockets(env)).toHaveLength(Number(env.LISTEN_FDS));
        });
        if (error !== null) expect(error.code).toBe('ERR_PREFORK_LISTEN');
      }),
      { numRuns: 1000 },
    );
  });
});

describe('what one manager leaves to the next in its environment', () => {
  it('is taken out of it, whatever it is', () => {
    const names = [
      'PREFORK_UPGRADE',
      'PREFORK_UPGRADE_CHECK',
      'PREFORK_UPGRADE_FAILED',
      'PREFORK_SIGNAL_GUARD',
    ];
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names, 'LD_PRELOAD'), text), (env) => {
        const task = takeUpgradeTask(env);
        if (task === null) return;
        expect(Object.keys(env).filter((name) => names.includes(name))).toEqual([]);
        expect(Number.isInteger(task.fd)).toBe(true);
      }),
    );
  });
});

describe('signals and accounts', () => {
  it('are such that this system has, or refused', () => {
    fc.assert(
      fc.property(fc.oneof(text, telling), (name) => {
        const signal = parseSignal(name);
        if (signal.ok) expect(signal.value).toMatch(/^SIG[A-Z0-9]+$/);
        expect(parseTrappable(name).ok && !signal.ok).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it('are looked up in whatever /etc/passwd and /etc/group hold', () => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-fuzz-'));
    const files = { passwd: join(directory, 'passwd'), group: join(directory, 'group') };
    const line = fc.array(word, { maxLength: 5 }).map((fields) => fields.join(':'));
    const lines = fc.array(line, { maxLength: 5 }).map((all) => all.join('\n'));
    try {
      fc.assert(
        fc.property(lines, lines, word, fc.option(word), (passwd, group, user, groupName) => {
          writeFileSync(files.passwd, passwd);
          writeFileSync(files.group, group);
          const found = resolveCredentials(user, groupName, files);
          if ('problem' in found) return;
          for (const id of [found.uid, found.gid, ...found.groups]) expect(id).toBeLessThan(2 ** 32 - 1);
        }),
        { numRuns: 300 },
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('start_server', () => {
  /** Its own refusal, or nothing. */
  function starter<T>(read: () => T): T | null {
    try {
      return read();
    } catch (error) {
      expect(error).toBeInstanceOf(StarterExit);
      return null;
    }
  }
  const flag = fc.constantFrom(
    '--port',
    '--path',
    '--interval',
    '--sig',
    '--dir',
    '-',
    '--',
    '+port',
    '--he',
  );
  const argument = fc.oneof(
    text,
    flag,
    fc.tuple(flag, text).map((pair) => pair.join('=')),
  );

  it('reads every command line, or says why not', () => {
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 6 }), fc.boolean(), (argv, posix) => {
        starter(() => parseCommandLine(argv, posix));
      }),
      { numRuns: 1000 },
    );
  });

  it('reads every port, time and status', () => {
    fc.assert(
      fc.property(text, fc.array(fc.option(fc.nat(20)), { maxLength: 6 }), (input, wanted) => {
        const port = starter(() => parsePort(input));
        if (port !== null) expect(port.port).toBeLessThanOrEqual(65_535);
        const ms = starter(() => secondsToMs(input));
        if (ms !== null) expect(Number.isNaN(ms)).toBe(false);
        for (const generation of generationsIn(input)) expect(Number.isSafeInteger(generation)).toBe(true);
        const placed = starter(() => placeSockets(wanted));
        if (placed !== null) expect(new Set(placed).size).toBe(wanted.length);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('prefork check', () => {
  const usual = {
    ...{ reloads: '1', connections: '1', oneShot: '1', interval: '1', pause: '0' },
    ...{ timeout: '1', commandTimeout: '1', expectStatus: '200' },
  };
  it('reads every argument, or refuses it', () => {
    const field = fc.constantFrom(...(Object.keys(usual) as (keyof typeof usual)[]));
    fc.assert(
      fc.property(field, text, fc.oneof(text, fc.webUrl()), (name, value, url) => {
        refusal(() => readCheckOptions(url, [], { ...usual, [name]: value }));
      }),
      { numRuns: 1000 },
    );
  });
});
