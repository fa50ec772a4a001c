/** --tag-output: whole lines with which worker they are from, whatever way they are printed. */
import { writeFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LineTagger, MAX_HELD_BYTES } from '../../src/worker/lineTagger';
import { type EngineName, TestManager } from '../helpers/worker-harness';

const SOURCE = { slot: 2, pid: 7, generation: 3 };
const HEAD = '[slot 2 pid 7 gen 3] ';
const ENGINES: EngineName[] = ['native', 'js'];

describe('lines', () => {
  const feed = (tagger: LineTagger, chunk: string | Buffer): string => {
    const taken = tagger.take(chunk);
    tagger.keep(taken);
    return Buffer.from(taken.lines.join(''), taken.encoding).toString();
  };

  test('are held back until they end', () => {
    const tagger = new LineTagger('pretty', 'stdout', SOURCE);
    expect(feed(tagger, 'a\nb\n')).toBe(`${HEAD}a\n${HEAD}b\n`);
    expect(feed(tagger, 'c')).toBe('');
    expect(feed(tagger, '\n\n')).toBe(`${HEAD}c\n${HEAD}\n`);
    const euro = Buffer.from('€\n');
    expect(feed(tagger, euro.subarray(0, 1)) + feed(tagger, euro.subarray(1))).toBe(`${HEAD}€\n`);
    feed(tagger, 'end');
    expect(tagger.takeHeld()).toBe(`${HEAD}end\n`);
    expect(tagger.takeHeld()).toBe('');
  });

  test('keep bytes that are no text', () => {
    const tagger = new LineTagger('pretty', 'stdout', SOURCE);
    const taken = tagger.take(Buffer.from([0xff, 0x00, 0x0a]));
    expect(Buffer.from(taken.lines.join(''), taken.encoding).subarray(-3)).toEqual(
      Buffer.from([0xff, 0, 10]),
    );
  });

  test('are JSON for machines, and one that is an object stays one', () => {
    const tagger = new LineTagger('json', 'stderr', SOURCE);
    const [plain, object, broken] = feed(tagger, 'a "b"\n{"level":30}\n{"level"\n').split('\n');
    const from = {
      slot: 2,
      pid: 7,
      generation: 3,
      stream: 'stderr',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
    };
    expect(JSON.parse(plain!)).toEqual({ ...from, msg: 'a "b"' });
    expect(JSON.parse(object!)).toEqual({ ...from, data: { level: 30 } });
    expect(JSON.parse(broken!)).toEqual({ ...from, msg: '{"level"' });
  });

  test('tell where each ends, so that a part of a write can be taken', () => {
    const tagger = new LineTagger('pretty', 'stdout', SOURCE);
    feed(tagger, '12');
    const taken = tagger.take(Buffer.from('3\n45\n6'));
    expect(taken.ends).toEqual([2, 5]);
    tagger.keep(taken, false);
    expect(feed(tagger, '45\n')).toBe(`${HEAD}45\n`);
  });

  test.each(['pretty', 'json'] as const)('%s: 1 MiB of one is held back, and no byte more', (format) => {
    const tagger = new LineTagger(format, 'stdout', SOURCE);
    expect(feed(tagger, `é${'x'.repeat(MAX_HELD_BYTES - 2)}`)).toBe('');
    // Not in the middle of a character.
    const part = feed(tagger, Buffer.from('é').subarray(0, 1));
    expect(part.length).toBeGreaterThanOrEqual(MAX_HELD_BYTES - 1);
    expect(part.endsWith(format === 'pretty' ? 'xxx\n' : 'xxx"}\n')).toBe(true);
    expect(part.includes('"part":true')).toBe(format === 'json');
    expect(feed(tagger, Buffer.from('é\n').subarray(1))).toMatch(
      format === 'pretty' ? /\] é\n$/ : /"msg":"é"/,
    );
  });
});

describe.each(ENGINES)('a worker of the %s engine', (engine) => {
  let manager: TestManager;
  beforeEach(() => {
    manager = new TestManager(engine);
  });
  afterEach(() => manager.close());

  const env = { PREFORK_SLOT: '5', PREFORK_GENERATION: '9' };
  const run = (code: string, nodeArgs: readonly string[] = []) =>
    manager.spawn({ code, env, nodeArgs, boot: { tagOutput: 'pretty' } });
  /** Without the head that each line has to have. */
  const lines = (text: string, pid: number | undefined): string[] =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const head = `[slot 5 pid ${pid} gen 9] `;
        if (!line.startsWith(head)) throw new Error(`not tagged: ${line}`);
        return line.slice(head.length);
      });

  test('console, streams and node:fs, in pieces, encodings and with callbacks', async () => {
    const worker = run(`
      const fs = require('node:fs');
      console.log('one\\ntwo');
      process.stdout.write('thr');
      fs.writeSync(1, Buffer.from('-ee\\n-'), 1, 3);
      process.stdout.write('66f6f75720a', () => {}) // text that only looks like hex
      process.stdout.write('0a666976650a', 'hex', (error) => console.log('called back', error ?? 'well'));
      try { process.stdout.write(5); } catch (error) { console.log(error.code); }
      fs.write(1, 'six\\n', (error, count) => {
        console.log('wrote', count);
        require('node:util').promisify(fs.write)(1, Buffer.from('seven\\n')).then(({ bytesWritten, buffer }) => {
          console.log(bytesWritten, buffer.length);
          fs.writevSync(1, [Buffer.from('ei'), Buffer.from('ght\\n')]);
          import('node:fs').then((esm) => { esm.writeSync(1, 'ni'); esm.writeSync(1, 'ne'); console.error('the end'); process.stderr.write('no newline'); });
        });
      });`);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(lines(worker.stdout, worker.child.pid).filter((line) => !/called back|^ERR_/.test(line))).toEqual([
      ...['one', 'two', 'three', '66f6f75720a', 'five', 'six', 'wrote 4', 'seven', '6 6', 'eight', 'nine'],
    ]);
    expect(worker.stdout).toContain('called back well');
    expect(worker.stdout).toContain('ERR_INVALID_ARG_TYPE');
    expect(lines(worker.stderr, worker.child.pid)).toEqual(['the end', 'no newline']);
  });

  test('pino, warnings, and what exit listeners print', async () => {
    const worker = run(`
      const log = require('pino')();
      process.on('exit', () => { console.log('leaving'); process.stdout.write('last'); });
      process.emitWarning('careful');
      setImmediate(() => { log.info('hello'); process.exit(3); });`);
    expect(await worker.exited).toEqual({ code: 3, signal: null });
    const [hello = '', ...rest] = lines(worker.stdout, worker.child.pid);
    expect(JSON.parse(hello)).toMatchObject({ msg: 'hello' });
    expect(rest).toEqual(['leaving', 'last']);
    expect(lines(worker.stderr, worker.child.pid)[0]).toMatch(/Warning: careful/);
  });

  test.each([
    [
      "setImmediate(() => { throw Object.assign(new Error('boom\\nand more'), { code: 'E' }); })",
      /^and more$/,
    ],
    ["Promise.reject(new TypeError('boom'))", /TypeError: boom/],
    ['setImmediate(() => { throw 5; })', /^Uncaught 5$/],
    ['setImmediate(() => JSON.parse("{"))', /SyntaxError/],
  ])('the error that ends it: %s', async (code, text) => {
    const worker = run(
      `process.stdout.write('begun'); process.on('exit', (code) => console.log(' and ended', code)); ${code}`,
    );
    expect(await worker.exited).toEqual({ code: 1, signal: null });
    const printed = lines(worker.stderr, worker.child.pid);
    expect(
      printed.some((line) => text.test(line)),
      worker.stderr,
    ).toBe(true);
    expect(printed.at(-1)).toBe(`Node.js ${process.version}`);
    expect(lines(worker.stdout, worker.child.pid)).toEqual(['begun and ended 1']);
    expect(worker.all('lastWords')[0]?.text ?? '').not.toContain('slot 5');
  });

  test('an error that is handled ends nothing; a syntax error elsewhere is told with its place', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'prefork-output-'));
    try {
      const broken = join(directory, 'broken.js');
      writeFileSync(broken, 'const a = ;\n');
      const worker = run(`
        process.once('uncaughtException', () => { console.log('handled'); require(${JSON.stringify(broken)}); });
        setImmediate(() => { throw new Error('first'); });`);
      expect((await worker.exited).code).toBeGreaterThan(0);
      expect(lines(worker.stdout, worker.child.pid)).toEqual(['handled']);
      expect(worker.stderr).toContain('broken.js:1');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
