/** The columns of `prefork top`: what is in them, and how they are sorted. */
import { age, lastExit, mebibytes } from '../cli/format';
import type { WorkerStatus } from '../control/protocol';

/** A worker as it is shown: its status, and what is known only from the one before. */
export interface Shown {
  readonly worker: WorkerStatus;
  /** requests a second; null: not known yet */
  readonly rate: number | null;
}

export interface Column {
  readonly heading: string;
  /** the key that sorts by it */
  readonly key: string;
  readonly align: 'left' | 'right';
  /** the larger first, until the order is turned */
  readonly descending: boolean;
  text(shown: Shown): string;
  /** null is last, whatever the order */
  value(shown: Shown): number | string | null;
}

const NONE = '-';
const orNone = (value: number | null | undefined, text: (value: number) => string): string =>
  value === null || value === undefined ? NONE : text(value);

/** What is done now is of more interest than that it is ready. */
export function stateOf({ state, row, stopped }: WorkerStatus): string {
  return `${state === 'ready' ? (row?.activity ?? state) : state}${stopped ? ' (stopped)' : ''}`;
}

const rssOf = ({ memory, row }: WorkerStatus): number | null => memory?.rssBytes ?? row?.rssBytes ?? null;

type Numeric = (shown: Shown) => number | null | undefined;

/** A column of numbers, the larger first. */
function numbers(heading: string, key: string, value: Numeric, text: (value: number) => string): Column {
  return {
    heading,
    key,
    align: 'right',
    descending: true,
    value: (shown) => value(shown) ?? null,
    text: (shown) => orNone(value(shown), text),
  };
}

/** 4.2, 420, 4200: as many digits as are of use. */
export const perSecond = (rate: number): string => (rate < 10 ? rate.toFixed(1) : String(Math.round(rate)));

export const columns: readonly Column[] = [
  { ...numbers('SLOT', 's', ({ worker }) => worker.slot, String), descending: false },
  { ...numbers('PID', 'p', ({ worker }) => worker.pid, String), descending: false },
  numbers('GEN', 'g', ({ worker }) => worker.generation, String),
  {
    heading: 'STATE',
    key: 'w',
    align: 'left',
    descending: false,
    text: ({ worker }) => stateOf(worker),
    value: ({ worker }) => stateOf(worker),
  },
  numbers('AGE', 'a', ({ worker }) => worker.ageMs, age),
  numbers('REQUESTS', 'n', ({ worker }) => worker.row?.requests, String),
  numbers('REQ/S', 'r', ({ rate }) => rate, perSecond),
  numbers(
    'LAG',
    'l',
    ({ worker }) => worker.row?.lagMs,
    (ms) => `${ms}ms`,
  ),
  numbers(
    'LOOP',
    'u',
    ({ worker }) => worker.row?.utilisation,
    (share) => `${Math.round(share * 100)}%`,
  ),
  numbers('CONN', 'c', ({ worker }) => worker.row?.connections, String),
  numbers('RSS', 'm', ({ worker }) => rssOf(worker), mebibytes),
  numbers('PSS', 'M', ({ worker }) => worker.memory?.pssBytes, mebibytes),
  {
    heading: 'LAST EXIT',
    key: 'x',
    align: 'left',
    descending: false,
    text: ({ worker }) => lastExit(worker.lastExit),
    // The latest first.
    value: ({ worker }) => worker.lastExit?.agoMs ?? null,
  },
];

/** In the order of that column; workers that are equal in it by slot, then by age. */
export function sorted(shown: readonly Shown[], column: Column, reverse: boolean): Shown[] {
  const sign = column.descending === reverse ? 1 : -1;
  return [...shown].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || y === null) return x === y ? bySlot(a, b) : x === null ? 1 : -1;
    return x === y ? bySlot(a, b) : (x < y ? -1 : 1) * sign;
  });
}

const bySlot = ({ worker: a }: Shown, { worker: b }: Shown): number =>
  a.slot - b.slot || a.workerId - b.workerId;
