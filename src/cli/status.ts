/** `prefork status`: whether the service runs, and how its workers are. */
import type { Command } from 'commander';
import type { Status, WorkerStatus } from '../control/protocol';
import type { Found } from '../control/find';
import { age, lastExit, mebibytes } from './format';
import { addServiceOptions, plainText, serviceName, servicePaths } from './service-options';

const AFTER_HELP = `
Exit codes (LSB):
  0           it runs
  1           it does not, and its pid file or control socket is left
  3           it does not
  4           unknown: no permission, or it does not answer

Example:
  prefork status --pid-file /run/app.pid --json`;

const exit = { running: 0, dead: 1, stopped: 3, unknown: 4 } as const;

/** Adds the command to `program`. */
export function addStatus(program: Command): void {
  const status = addServiceOptions(program.command('status'))
    .summary('tell whether the service runs, and how its workers are')
    .description(
      'Tells whether the service runs, and for each worker slot, pid, generation, state, age, requests, lag and use of its event loop, memory, and how the last one in its slot ended.',
    )
    .option('--json', 'print one JSON object, for programs')
    .addHelpText('after', AFTER_HELP)
    .action(async (flags: { json?: boolean }) => {
      process.exitCode = await tellStatus(status, flags.json === true);
    });
}

async function tellStatus(command: Command, json: boolean): Promise<number> {
  const { findManager } = require('../control/find') as typeof import('../control/find');
  const paths = await servicePaths(command);
  const found = await findManager(paths, true);
  if (found.state === 'running') found.client?.close();
  const service = serviceName(paths);
  process.stdout.write(`${json ? JSON.stringify(asObject(found)) : plainText(asText(found, service))}\n`);
  return exitCodeOf(found);
}

function exitCodeOf(found: Found): number {
  switch (found.state) {
    case 'running':
      return found.problem === null ? exit.running : exit.unknown;
    case 'stopped':
      return found.stale ? exit.dead : exit.stopped;
    case 'unknown':
      return exit.unknown;
  }
}

function asObject(found: Found): object {
  if (found.state !== 'running') return found;
  const { pid, status, problem } = found;
  return { ...(status ?? { pid, state: 'running' }), ...(problem !== null && { problem }) };
}

function asText(found: Found, service: string): string {
  switch (found.state) {
    case 'stopped':
      return found.stale ? `${service}: dead, its file is left` : `${service}: not running`;
    case 'unknown':
      return `${service}: unknown: ${found.problem}`;
    case 'running':
      if (found.status !== null) return `${service}: ${describe(found.status)}`;
      return `${service}: running, manager ${found.pid}, which ${found.problem === null ? 'has no control socket' : `does not answer: ${found.problem}`}`;
  }
}

function describe(status: Status): string {
  const { state, pid, generation, nextGeneration, workersReady, workersWanted, engine, upMs, addresses } =
    status;
  const next = nextGeneration === null ? '' : `, generation ${nextGeneration} is starting`;
  return [
    `${state}, manager ${pid}, generation ${generation}${next}, ${workersReady} of ${workersWanted} workers ready, ${engine} engine, up ${age(upMs)}`,
    ...addresses,
    table(status.workers),
  ].join('\n');
}

function table(workers: readonly WorkerStatus[]): string {
  const rows = workers.map((w) => [
    String(w.slot),
    String(w.pid ?? '-'),
    String(w.generation),
    `${w.state === 'ready' ? (w.row?.activity ?? w.state) : w.state}${w.stopped ? ' (stopped)' : ''}`,
    age(w.ageMs),
    ...figures(w),
    lastExit(w.lastExit),
  ]);
  const lines = [HEADINGS, ...rows];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const HEADINGS = [
  'SLOT',
  'PID',
  'GENERATION',
  'STATE',
  'AGE',
  'REQUESTS',
  'LAG',
  'LOOP',
  'RSS',
  'PSS',
  'LAST EXIT',
];

/** What is not known is a dash. */
function figures({ row, memory }: WorkerStatus): string[] {
  const rssBytes = memory?.rssBytes ?? row?.rssBytes;
  return [
    row === null ? '-' : String(row.requests),
    row === null ? '-' : `${row.lagMs}ms`,
    row === null ? '-' : `${Math.round(row.utilisation * 100)}%`,
    rssBytes === undefined ? '-' : mebibytes(rssBytes),
    memory === null ? '-' : mebibytes(memory.pssBytes),
  ];
}
