/** Runs in a process of its own: imports the configuration file that its argument names and writes what it exports to descriptor 3. */
import { spawnSync } from 'node:child_process';
import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { type ConfigReport, REPORT_END } from './config-file';

const REPORT_FD = 3;

async function main(file: string): Promise<void> {
  let report: ConfigReport;
  try {
    const module = (await import(pathToFileURL(file).href)) as { default?: unknown };
    report = { value: toData(await unwrap(module)) };
  } catch (error) {
    report = { problem: describeFailure(error, file) };
  }
  writeAll(JSON.stringify(report) + REPORT_END);
  // Timers and sockets of the configuration don't keep anyone waiting.
  process.exit(0);
}

/** The default export, also of CommonJS that a compiler made from an ES module. */
function unwrap(module: { default?: unknown }): unknown {
  const exported = module.default;
  const compiled =
    typeof exported === 'object' && exported !== null && '__esModule' in exported && 'default' in exported;
  if (exported === undefined) {
    throw new TypeError('it has no default export');
  }
  return compiled ? exported.default : exported;
}

/** A copy made of what JSON can carry; anything else is named. */
function toData(value: unknown): unknown {
  const text = JSON.stringify(value, (key, inner: unknown) => {
    const isData = typeof inner !== 'function' && typeof inner !== 'symbol' && typeof inner !== 'bigint';
    if (!isData || (typeof inner === 'number' && !Number.isFinite(inner))) {
      const name = typeof inner === 'number' ? String(inner) : `a ${typeof inner}`;
      throw new TypeError(`${key === '' ? 'its export' : key} is ${name}; a configuration holds plain data`);
    }
    return inner;
  });
  return text === undefined ? undefined : JSON.parse(text);
}

/** The message, and for a syntax error the place. */
function describeFailure(error: unknown, file: string): string {
  if (!(error instanceof Error)) {
    return `it threw ${String(error)}`;
  }
  const message = `${error.name}: ${error.message.split('\n', 1)[0]}`;
  const place =
    error instanceof SyntaxError ? (findPlace(error.stack ?? '') ?? findPlace(checkSyntax(file))) : null;
  return place === null ? message : `${message} at ${place}`;
}

/** The `file:line` that node puts on a line of its own before a syntax error. */
function findPlace(text: string): string | null {
  return /^(?:file:\/\/)?(\/.*:\d+)$/m.exec(text)?.[1] ?? null;
}

/** What node prints about an ES module: the error that its import rejects with does not tell the place. */
function checkSyntax(file: string): string {
  return spawnSync(process.execPath, [...process.execArgv, '--check', file], { encoding: 'utf8' }).stderr;
}

function writeAll(text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    rest = rest.subarray(writeSync(REPORT_FD, rest));
  }
}

void main(process.argv[2]!);
