import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Attempts, isSameHost, MAX_WRONG } from '../../src/metrics/door';
import { page } from '../../src/metrics/page';
import { MAX_TOKEN_CHARS, MIN_TOKEN_CHARS, readToken } from '../../src/options/control-token';

describe('the file of the control token', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'prefork-'));
    path = join(directory, 'token');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const written = (text: string, mode = 0o600) => {
    writeFileSync(path, text, { mode });
    chmodSync(path, mode);
    return readToken(path);
  };

  it.each([MIN_TOKEN_CHARS, MAX_TOKEN_CHARS])('holds one of %i characters', (length) => {
    const token = 'x~!'.repeat(100).slice(0, length);
    expect(written(` \n${token}\r\n\n`)).toEqual({ token });
    expect(written(token, 0o400)).toEqual({ token });
  });

  it.each<[string, RegExp]>([
    ['', /^the token in it has 0 characters; expected 16 to 256$/],
    [' '.repeat(20), /has 0 characters/],
    ['x'.repeat(MIN_TOKEN_CHARS - 1), /has 15 characters/],
    ['x'.repeat(MAX_TOKEN_CHARS + 1), /has more than 256 characters/],
    ['x'.repeat(100_000), /has more than 256 characters/],
    ['two words in one line', /other characters than visible ASCII ones$/],
    ['naïve-naïve-naïve-naïve', /other characters/],
    ['0123456789\n0123456789', /other characters/],
  ])('does not hold %j', (text, problem) => {
    expect(written(text)).toEqual({ problem: expect.stringMatching(problem) as string });
  });

  it.each([0o640, 0o620, 0o610, 0o604, 0o602, 0o601])('is not for others (mode %o)', (mode) => {
    expect(written('x'.repeat(20), mode)).toEqual({
      problem: `holds a secret, and others than its owner may use it (mode 0${mode.toString(8)}); chmod 600 it`,
    });
  });

  it('is a file', () => {
    expect(readToken(path)).toEqual({ problem: 'no such file or directory (ENOENT)' });
    expect(readToken(directory)).toEqual({ problem: 'is no regular file' });
    // Nobody writes to it, and it is not waited for.
    execFileSync('mkfifo', ['-m', '600', path]);
    expect(readToken(path)).toEqual({ problem: 'is no regular file' });
  });
});

describe('wrong tokens', () => {
  it('are counted from the first one on, for a minute', () => {
    let now = 1000;
    const attempts = new Attempts(() => now);
    for (let i = 0; i < MAX_WRONG; i++) {
      expect(attempts.waitMs()).toBe(0);
      attempts.count();
      now += 1000;
    }
    expect(attempts.waitMs()).toBe(55_000);
    now = 60_999;
    expect(attempts.waitMs()).toBe(1);
    now = 61_000;
    expect(attempts.waitMs()).toBe(0);
    for (let i = 1; i < MAX_WRONG; i++) attempts.count();
    expect(attempts.waitMs()).toBe(0);
    attempts.count();
    expect(attempts.waitMs()).toBe(60_000);
  });
});

describe('a page', () => {
  it.each([
    [undefined, 'a:9090'],
    ['http://a:9090', 'a:9090'],
    ['http://a', 'a'],
    ['http://a', 'a:80'],
    ['https://A', 'a:443'],
    ['http://[::1]:1', '[::1]:1'],
  ])('of %s may ask %s', (origin, host) => expect(isSameHost(origin, host)).toBe(true));

  it.each([
    ['null', 'a:9090'],
    ['', 'a:9090'],
    ['http://a:9091', 'a:9090'],
    ['http://b:9090', 'a:9090'],
    ['http://a.b:9090', 'a:9090'],
    ['http://a', 'a:443'],
    ['file://', 'a'],
    ['http://a', undefined],
  ])('of %s may not ask %s', (origin, host) => expect(isSameHost(origin, host)).toBe(false));

  it('has what changes something only where there is a token', () => {
    const [without, withToken] = [page(false), page(true)];
    expect(String(without.body)).not.toMatch(/token|id="controls"|\/stop/);
    expect(String(withToken.body)).toMatch(/id="controls".*id="token" type="password"/s);
    for (const { headers } of [without, withToken]) {
      expect(headers!['content-security-policy']).toMatch(
        /^default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+'; connect-src 'self';/,
      );
    }
  });
});
