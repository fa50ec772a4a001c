/** What `prefork top` shows, and what its keys change of that. Pure. */
import type { Status } from '../control/protocol';
import { columns } from './columns';

/** Longest filter: nothing longer is in a row. */
const MAX_FILTER_CHARS = 40;

export interface View {
  /** index in `columns` */
  readonly sort: number;
  readonly reverse: boolean;
  /** rows that have it in them */
  readonly filter: string;
  /** the filter is being typed */
  readonly typing: boolean;
  /** rows above the first that is seen */
  readonly scroll: number;
  readonly paused: boolean;
  readonly help: boolean;
}

export const initialView: View = {
  sort: 0,
  reverse: false,
  filter: '',
  typing: false,
  scroll: 0,
  paused: false,
  help: false,
};

/** The view after a key; `quit`: there is to be none. `page`: rows that are seen at once. */
export function pressed(view: View, key: string, page: number): View | 'quit' {
  if (key === 'ctrl-c') return 'quit';
  if (view.typing) return typed(view, key);
  if (view.help) return { ...view, help: false };
  switch (key) {
    case 'q':
      return 'quit';
    case 'h':
    case '?':
      return { ...view, help: true };
    case ' ':
      return { ...view, paused: !view.paused };
    case '/':
    case 'f':
      return { ...view, typing: true };
    case 'escape':
      return { ...view, filter: '', scroll: 0 };
    case 'R':
      return { ...view, reverse: !view.reverse };
    case 'left':
    case 'right': {
      const step = key === 'left' ? columns.length - 1 : 1;
      return { ...view, sort: (view.sort + step) % columns.length, reverse: false };
    }
    default:
      return moved(view, key, page);
  }
}

function moved(view: View, key: string, page: number): View {
  const steps: Readonly<Record<string, number>> = {
    up: -1,
    k: -1,
    down: 1,
    j: 1,
    pageup: -page,
    pagedown: page,
    home: Number.NEGATIVE_INFINITY,
    end: Number.POSITIVE_INFINITY,
  };
  const step = steps[key];
  // The renderer knows how many there are.
  if (step !== undefined) return { ...view, scroll: Math.max(0, Math.min(view.scroll + step, 1e6)) };
  const sort = columns.findIndex((column) => column.key === key);
  if (sort < 0) return view;
  return { ...view, sort, reverse: sort === view.sort && !view.reverse };
}

function typed(view: View, key: string): View {
  if (key === 'enter') return { ...view, typing: false };
  if (key === 'escape') return { ...view, typing: false, filter: '', scroll: 0 };
  if (key === 'backspace') return { ...view, filter: view.filter.slice(0, -1), scroll: 0 };
  const isText = key.length === 1 && view.filter.length < MAX_FILTER_CHARS;
  return isText ? { ...view, filter: view.filter + key, scroll: 0 } : view;
}

/** What became of the service between two looks at it. */
export interface Progress {
  /** requests a second by worker id */
  readonly rates: ReadonlyMap<number, number>;
  /** how the last rollout that was seen ended; null: none was */
  readonly outcome: string | null;
}

export const noProgress: Progress = { rates: new Map(), outcome: null };

/** `elapsedMs`: between the two. */
export function progressed(
  before: Status,
  after: Status,
  elapsedMs: number,
  { outcome: former }: Progress,
): Progress {
  const counts = new Map(before.workers.map(({ workerId, row }) => [workerId, row?.requests]));
  const rates = new Map<number, number>();
  for (const { workerId, row } of after.workers) {
    const count = counts.get(workerId);
    if (count === undefined || row === null || elapsedMs <= 0) continue;
    rates.set(workerId, (Math.max(0, row.requests - count) * 1000) / elapsedMs);
  }
  return { rates, outcome: outcomeOf(before, after) ?? former };
}

function outcomeOf(
  { generation: old, nextGeneration }: Status,
  { generation, ...after }: Status,
): string | null {
  if (after.nextGeneration !== null) return '';
  if (generation > old) return `generation ${generation} serves`;
  if (nextGeneration === null || after.state === 'stopping') return null;
  return `generation ${nextGeneration} failed; generation ${generation} serves`;
}
