/** A histogram as plain data, which a manager's successor goes on with. */

export interface HistogramData {
  /** one a bound, and one above all */
  readonly counts: number[];
  sum: number;
}

/** Upper bounds in seconds: from a fork to a program that takes a minute to load, or to drain. */
export const BOUNDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;

export const emptyHistogram = (): HistogramData => ({ counts: new Array(BOUNDS.length + 1).fill(0), sum: 0 });

export function observe(histogram: HistogramData, seconds: number): void {
  const at = BOUNDS.findIndex((bound) => seconds <= bound);
  histogram.counts[at < 0 ? BOUNDS.length : at]!++;
  histogram.sum += seconds;
}
