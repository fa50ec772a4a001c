/** `prefork top` as lines: a pure function of what is known, the size of the screen, and what is to be seen. */
import { age, mebibytes } from '../cli/format';
import { plainText } from '../cli/service-options';
import type { Status } from '../control/protocol';
import { type Column, columns, perSecond, type Shown, sorted, stateOf } from './columns';
import type { Progress, View } from './view';

export type Style = 'plain' | 'title' | 'heading' | 'dim' | 'alert';

export interface Line {
  readonly text: string;
  readonly style: Style;
}

export interface Size {
  readonly columns: number;
  /** Infinity: no screen, but a file or a pipe */
  readonly rows: number;
}

export interface Picture {
  /** null: nothing was heard of the service yet */
  readonly status: Status | null;
  readonly progress: Progress;
  /** why nothing is heard of it now; null: it answers */
  readonly problem: string | null;
}

/** Lines around the table: title, addresses, totals, rollout, headings, the foot. */
const FRAME = 6;
const BAR_CHARS = 20;

/** At most `size.rows` lines of at most `size.columns` characters. */
export function render({ status, progress, problem }: Picture, size: Size, view: View): Line[] {
  const lines =
    status === null
      ? [line(problem ?? 'asking the manager …', problem === null ? 'dim' : 'alert')]
      : view.help
        ? [...title(status, problem), ...help()]
        : [...title(status, problem), ...table(status, progress, size, view)];
  return lines
    .slice(0, Math.max(1, size.rows))
    .map(({ text, style }) => ({ text: cut(plainText(text), size.columns), style }));
}

/** How many workers are seen at once. */
export const pageRows = (rows: number): number => Math.max(1, rows - FRAME);

const line = (text: string, style: Style = 'plain'): Line => ({ text, style });

function title(status: Status, problem: string | null): Line[] {
  const { pid, state, generation, workersReady, workersWanted, engine, version, upMs } = status;
  const first = `prefork ${version}  ${state}  manager ${pid}  generation ${generation}  ${workersReady} of ${workersWanted} ready  ${engine}  up ${age(upMs)}`;
  const second = problem === null ? line(status.addresses.join('  '), 'dim') : line(problem, 'alert');
  return [line(first, 'title'), second];
}

function table(status: Status, progress: Progress, size: Size, view: View): Line[] {
  const all = status.workers.map((worker) => ({ worker, rate: progress.rates.get(worker.workerId) ?? null }));
  const column = columns[view.sort]!;
  const fitting = sorted(
    all.filter((shown) => fits(shown, view.filter)),
    column,
    view.reverse,
  );
  const page = pageRows(size.rows);
  const from = Math.min(view.scroll, Math.max(0, fitting.length - page));
  const seen = fitting.slice(from, from + page);
  // Over all of them, so that nothing moves sideways while scrolling.
  const widths = columns.map((each) =>
    Math.max(each.heading.length + 1, ...fitting.map((shown) => each.text(shown).length)),
  );
  const headings = columns.map((each) =>
    each === column ? `${each.heading}${arrow(column, view)}` : each.heading,
  );
  return [
    line(totals(all)),
    rollout(status, progress),
    line(joined(headings, widths), 'heading'),
    ...seen.map((shown) => row(shown, status, widths)),
    ...(Number.isFinite(size.rows)
      ? [line(foot(view, from, seen.length, fitting.length, all.length), 'dim')]
      : []),
  ];
}

const arrow = (column: Column, { reverse }: View): string => (column.descending === reverse ? '^' : 'v');

function row(shown: Shown, { generation }: Status, widths: readonly number[]): Line {
  const { worker } = shown;
  const text = joined(
    columns.map((column) => column.text(shown)),
    widths,
  );
  if (worker.stopped || worker.state === 'killed') return line(text, 'alert');
  const leaves = worker.state === 'draining' || worker.generation < generation;
  return line(text, leaves ? 'dim' : 'plain');
}

function joined(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, at) =>
      columns[at]!.align === 'left' ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!),
    )
    .join(' ')
    .trimEnd();
}

function fits(shown: Shown, filter: string): boolean {
  if (filter === '') return true;
  const wanted = filter.toLowerCase();
  return columns.some((column) => column.text(shown).toLowerCase().includes(wanted));
}

function totals(all: readonly Shown[]): string {
  const rows = all.flatMap(({ worker }) => worker.row ?? []);
  const sum = (values: readonly (number | null | undefined)[]): number =>
    values.reduce<number>((total, value) => total + (value ?? 0), 0);
  const counts = new Map<string, number>();
  for (const { worker } of all) counts.set(stateOf(worker), (counts.get(stateOf(worker)) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => `${count} ${state}`).join(', ') || 'no workers';
  const loop = rows.length === 0 ? 0 : sum(rows.map(({ utilisation }) => utilisation)) / rows.length;
  const pss = all.flatMap(({ worker }) => worker.memory?.pssBytes ?? []);
  return [
    states,
    `${perSecond(sum(all.map(({ rate }) => rate)))} req/s`,
    `${sum(rows.map(({ requests }) => requests))} requests`,
    `loop ${Math.round(loop * 100)}%`,
    `lag ${Math.max(0, ...rows.map(({ lagMs }) => lagMs))}ms`,
    `${sum(rows.map(({ connections }) => connections))} connections`,
    pss.length > 0
      ? `PSS ${mebibytes(sum(pss))}`
      : `RSS ${mebibytes(sum(rows.map(({ rssBytes }) => rssBytes)))}`,
  ].join('  ');
}

/** A rollout under way, as a bar; else how the last one ended. */
function rollout({ nextGeneration, workersWanted, workers, state }: Status, { outcome }: Progress): Line {
  if (nextGeneration === null) return line(outcome ?? '', 'dim');
  const fresh = workers.filter(({ generation }) => generation === nextGeneration);
  const ready = fresh.filter((worker) => worker.state === 'ready').length;
  const done = Math.min(BAR_CHARS, Math.floor((ready / Math.max(1, workersWanted)) * BAR_CHARS));
  const bar = `[${'#'.repeat(done)}${'.'.repeat(BAR_CHARS - done)}]`;
  return line(
    `${state} to generation ${nextGeneration}  ${bar}  ${ready} of ${workersWanted} ready, ${fresh.length} started`,
    'title',
  );
}

function foot(view: View, from: number, seen: number, fitting: number, all: number): string {
  if (view.typing) return `filter: ${view.filter}_   Enter keeps it, Esc drops it`;
  const which = seen < fitting ? `${from + 1}-${from + seen} of ${fitting}` : `${fitting}`;
  const filtered = view.filter === '' ? '' : ` of ${all} with '${view.filter}'`;
  return `${which} workers${filtered}${view.paused ? ', paused' : ''}   q quit  h help  / filter  < > sort  R reverse  space pause`;
}

function help(): Line[] {
  const sorts = columns.map(({ key, heading }) => `${key} ${heading.toLowerCase()}`);
  return [
    line(''),
    line('Left, Right   sort by the column before, after', 'plain'),
    line(`              or by its key: ${sorts.slice(0, 7).join(', ')},`),
    line(`              ${sorts.slice(7).join(', ')}`),
    line('R             turn the order'),
    line('/             show only rows that have a text in them; Esc shows all'),
    line('Up, Down      scroll; also j, k, PgUp, PgDn, Home, End'),
    line('space         hold the picture still'),
    line('q, Ctrl-C     quit'),
    line(''),
    line('any key goes back', 'dim'),
  ];
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : text.slice(0, Math.max(0, width));
}
