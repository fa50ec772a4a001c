/** What people write: durations, sizes, addresses, signals, and names that are nearly right. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Address,
  formatAddress,
  MAX_FD,
  MAX_UNIX_PATH_BYTES,
  parseAddress,
} from '../../src/options/address';
import { formatDuration, MAX_DURATION_MS, parseDuration } from '../../src/options/duration';
import { nearest } from '../../src/options/nearest';
import type { Parsed } from '../../src/options/result';
import { parseSignal, parseTrappable } from '../../src/options/signal-name';
import { formatSize, MAX_SIZE_BYTES, parseSize } from '../../src/options/size';

function value<T>(result: Parsed<T>): T {
  if (!result.ok) {
    throw new Error(result.reason);
  }
  return result.value;
}

function reason(result: Parsed<unknown>): string {
  return result.ok ? `accepted as ${JSON.stringify(result.value)}` : result.reason;
}

/** Strings that are near to being right, besides any at all. */
const nearly = (alphabet: string) =>
  fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 24 }));

describe('durations', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
    ['0', 0],
    ['30', 30_000],
    ['1.5', 1500],
    ['1.1s', 1100],
    ['0.25m', 15_000],
    [30, 30_000],
    [0.5, 500],
    [' 3s ', 3000],
    ['2147483647ms', MAX_DURATION_MS],
  ])('%j is %d ms', (text, ms) => expect(value(parseDuration(text))).toBe(ms));

  it.each([
    ['', /not a duration/],
    ['ten', /not a duration/],
    ['-1', /not a duration/],
    ['1 s', /not a duration/],
    ['1w', /not a duration/],
    ['1e3', /not a duration/],
    [Number.NaN, /not a duration/],
    [Number.POSITIVE_INFINITY, /not a duration/],
    [-1, /not a duration/],
    ['0.5ms', /whole number of milliseconds/],
    ['2147483648ms', /longer than 2147483647ms/],
    ['25d', /longer than/],
    [1e14, /longer than/],
  ])('%j is refused', (text, why) => expect(reason(parseDuration(text))).toMatch(why));

  it('reads back whatever it writes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: MAX_DURATION_MS }),
        (ms) => value(parseDuration(formatDuration(ms))) === ms,
      ),
    );
  });

  it('never throws, and is whole and in range', () => {
    fc.assert(
      fc.property(fc.oneof(nearly('0123456789.msh- '), fc.double()), (input) => {
        const result = parseDuration(input);
        expect(
          !result.ok ||
            (Number.isInteger(result.value) && result.value >= 0 && result.value <= MAX_DURATION_MS),
        ).toBe(true);
      }),
    );
  });
});

describe('sizes', () => {
  it.each([
    ['512', 512],
    ['64k', 65_536],
    ['64K', 65_536],
    ['512MiB', 536_870_912],
    ['512M', 536_870_912],
    ['1GB', 1_000_000_000],
    ['1gib', 1_073_741_824],
    ['1.5 MiB', 1_572_864],
    ['2t', 2 ** 41],
    ['3kB', 3000],
    ['7b', 7],
    [4096, 4096],
  ])('%j is %d bytes', (text, bytes) => expect(value(parseSize(text))).toBe(bytes));

  it.each([
    ['', /not a size/],
    ['big', /not a size/],
    ['-1', /not a size/],
    ['1Ki', /not a size/],
    ['1eB', /not a size/],
    [Number.NaN, /not a size/],
    ['0.5', /whole number of bytes/],
    ['1025TiB', /more than 1024TiB/],
  ])('%j is refused', (text, why) => expect(reason(parseSize(text))).toMatch(why));

  it('reads back whatever it writes', () => {
    const bytes = fc.oneof(
      fc.integer({ min: 0, max: MAX_SIZE_BYTES }),
      fc.integer({ min: 0, max: 1023 }).map((n) => n * 1024 ** 3),
    );
    fc.assert(fc.property(bytes, (n) => value(parseSize(formatSize(n))) === n));
  });

  it('never throws, and is whole and in range', () => {
    fc.assert(
      fc.property(fc.oneof(nearly('0123456789.kmgtibB '), fc.double()), (input) => {
        const result = parseSize(input);
        expect(
          !result.ok ||
            (Number.isInteger(result.value) && result.value >= 0 && result.value <= MAX_SIZE_BYTES),
        ).toBe(true);
      }),
    );
  });
});

describe('addresses', () => {
  it.each<[string, Address]>([
    ['8080', { kind: 'tcp', host: null, port: 8080 }],
    [':8080', { kind: 'tcp', host: null, port: 8080 }],
    ['*:8080', { kind: 'tcp', host: null, port: 8080 }],
    ['0', { kind: 'tcp', host: null, port: 0 }],
    ['65535', { kind: 'tcp', host: null, port: 65_535 }],
    ['127.0.0.1:8080', { kind: 'tcp', host: '127.0.0.1', port: 8080 }],
    ['0.0.0.0:80', { kind: 'tcp', host: '0.0.0.0', port: 80 }],
    ['[::1]:8080', { kind: 'tcp', host: '::1', port: 8080 }],
    ['[::]:80', { kind: 'tcp', host: '::', port: 80 }],
    ['[fe80::1%lo]:80', { kind: 'tcp', host: 'fe80::1%lo', port: 80 }],
    ['localhost:8080', { kind: 'tcp', host: 'localhost', port: 8080 }],
    ['my_service.internal:1', { kind: 'tcp', host: 'my_service.internal', port: 1 }],
    ['tcp:localhost:8080', { kind: 'tcp', host: 'localhost', port: 8080 }],
    [`${'a.'.repeat(126)}a:80`, { kind: 'tcp', host: `${'a.'.repeat(126)}a`, port: 80 }],
    ['udp:127.0.0.1:53', { kind: 'udp', host: '127.0.0.1', port: 53 }],
    ['udp:53', { kind: 'udp', host: null, port: 53 }],
    ['udp:[::1]:53', { kind: 'udp', host: '::1', port: 53 }],
    ['unix:/run/app.sock', { kind: 'unix', path: '/run/app.sock' }],
    ['unix:app:1.sock', { kind: 'unix', path: 'app:1.sock' }],
    ['fd:3', { kind: 'fd', fd: 3 }],
    ['fd:0', { kind: 'fd', fd: 0 }],
    ['systemd', { kind: 'systemd' }],
  ])('%s', (text, address) => expect(value(parseAddress(text))).toEqual(address));

  it.each([
    ['', /has no port/],
    ['foo', /has no port/],
    ['localhost:', /has no port/],
    ['127.0.0.1', /has no port/],
    ['65536', /port that is no number from 0 to 65535/],
    ['-1', /has no port/],
    ['localhost:http', /port that is no number/],
    ['127.0.0.1:99999', /port that is no number/],
    ['::1:8080', /IPv6 address without brackets/],
    ['::1', /IPv6 address without brackets/],
    ['[::g]:80', /no IPv6 address/],
    ['[127.0.0.1]:80', /no IPv6 address/],
    ['300.1.1.1:80', /neither an IPv4 address nor a name/],
    ['1.2.3:80', /neither an IPv4 address nor a name/],
    ['a b:80', /neither an IPv4 address nor a name/],
    ['-a:80', /neither an IPv4 address nor a name/],
    [`${'a.'.repeat(126)}aa:80`, /neither an IPv4 address nor a name/],
    ['http://localhost:8080', /URL/],
    ['/run/app.sock', /without unix:/],
    ['./app.sock', /without unix:/],
    ['unix:', /has no path/],
    ['unix:@name', /abstract/],
    ['unix:a\0b', /abstract/],
    ['fd:', /names no descriptor/],
    ['fd:x', /names no descriptor/],
    [`fd:${MAX_FD + 1}`, /names no descriptor/],
    ['udp:systemd', /has no port/],
  ])('%j is refused', (text, why) => expect(reason(parseAddress(text))).toMatch(why));

  it('takes Unix paths up to the limit of the system, in bytes', () => {
    const longest = `/${'a'.repeat(MAX_UNIX_PATH_BYTES - 1)}`;
    expect(value(parseAddress(`unix:${longest}`))).toEqual({ kind: 'unix', path: longest });
    expect(reason(parseAddress(`unix:${longest}a`))).toMatch(
      `${MAX_UNIX_PATH_BYTES + 1} bytes, and the system allows ${MAX_UNIX_PATH_BYTES}`,
    );
    expect(reason(parseAddress(`unix:/${'é'.repeat(MAX_UNIX_PATH_BYTES - 1)}`))).toMatch('bytes');
  });

  it('reads back whatever it writes', () => {
    const host = fc.oneof(fc.constant(null), fc.ipV4(), fc.ipV6(), fc.domain());
    const address = fc.oneof(
      fc.record({ kind: fc.constantFrom('tcp' as const, 'udp' as const), host, port: fc.nat(65_535) }),
      fc.record({ kind: fc.constant('unix' as const), path: fc.stringMatching(/^[/.a-z][^\0@\s]{0,20}$/) }),
      fc.record({ kind: fc.constant('fd' as const), fd: fc.nat(MAX_FD) }),
      fc.constant({ kind: 'systemd' as const }),
    );
    fc.assert(
      fc.property(address, (a) => {
        expect(parseAddress(formatAddress(a))).toEqual({ ok: true, value: a });
      }),
    );
  });

  it('never throws, and what it accepts it writes and reads alike', () => {
    fc.assert(
      fc.property(nearly('0123456789:.[]audpnixf/@*'), (text) => {
        const result = parseAddress(text);
        if (result.ok) {
          expect(parseAddress(formatAddress(result.value))).toEqual(result);
        } else {
          expect(result.reason).toMatch(/^(has|is|names|looks) /);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('signal names', () => {
  it('come with or without SIG, in either case', () => {
    for (const text of ['TERM', 'term', 'SIGTERM', 'sigTerm', ' TERM ']) {
      expect(value(parseSignal(text))).toBe('SIGTERM');
    }
  });

  it('must exist, and be ones that a process can handle', () => {
    expect(reason(parseSignal('FOO'))).toMatch(/not a signal/);
    expect(reason(parseSignal('toString'))).toMatch(/not a signal/);
    expect(value(parseSignal('KILL'))).toBe('SIGKILL');
    for (const text of ['KILL', 'STOP', 'CHLD']) {
      expect(reason(parseTrappable(text))).toMatch(/cannot be trapped/);
    }
  });
});

describe('nearest name', () => {
  const known = ['workers', 'bind', 'gracefulTimeout', 'readyTimeout', 'maxRequests'];
  it.each([
    ['worker', 'workers'],
    ['wrokers', 'workers'],
    ['graceful_timeout', 'gracefulTimeout'],
    ['graceful-timeout', 'gracefulTimeout'],
    ['gracefulTimeoutMs', 'gracefulTimeout'],
    ['GRACEFUL', 'gracefulTimeout'],
    ['binds', 'bind'],
    ['maxRequest', 'maxRequests'],
    ['colour', null],
    ['x', null],
    ['', null],
  ])('of %j is %j', (name, near) => expect(nearest(name, known)).toBe(near));

  it('never throws, and finds a known name itself', () => {
    fc.assert(fc.property(fc.string(), (name) => void nearest(name, known)));
    expect(known.map((name) => nearest(name, known))).toEqual(known);
  });
});
