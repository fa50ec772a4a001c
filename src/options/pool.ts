/** How many workers there are, and whether their number follows the load: what the options for it say together. */
import type { NormalisedOptions, OptionName } from './schema';

export interface PoolSize {
  /** at the start */
  readonly workers: number;
  /** bounds for TTIN, TTOU, scale and the load; null: none but those of --workers itself */
  readonly minWorkers: number | null;
  readonly maxWorkers: number | null;
  /** null: the number does not follow the load */
  readonly elastic: { readonly minSpare: number; readonly maxSpare: number } | null;
}

type Sizes = Pick<NormalisedOptions, 'workers' | 'minWorkers' | 'maxWorkers' | 'minSpare' | 'maxSpare'>;

/** `given` says which options were; a problem is told with the option that it is about. */
export function poolSize(
  options: Sizes,
  given: (name: OptionName) => boolean,
): PoolSize | { option: OptionName; problem: string } {
  const { maxWorkers } = options;
  if (maxWorkers === null) {
    const idle = (['minWorkers', 'minSpare', 'maxSpare'] as const).find(given);
    if (idle) return { option: idle, problem: 'has no effect without --max-workers' };
    return { workers: options.workers, minWorkers: null, maxWorkers: null, elastic: null };
  }
  const minWorkers = options.minWorkers ?? 1;
  const minSpare = options.minSpare ?? 1;
  const maxSpare = options.maxSpare ?? minSpare * 2;
  const above = (option: 'minWorkers' | 'minSpare', value: number) =>
    value > maxWorkers ? { option, problem: `${value} is more than --max-workers ${maxWorkers}` } : null;
  const problem = above('minWorkers', minWorkers) ?? above('minSpare', minSpare);
  if (problem !== null) return problem;
  if (maxSpare <= minSpare) {
    // Left out, it is twice the other: it was given.
    return { option: 'maxSpare', problem: `${maxSpare} is to be more than --min-spare ${minSpare}` };
  }
  const usual = Math.min(Math.max(minWorkers, minSpare), maxWorkers);
  const workers = given('workers') ? options.workers : usual;
  if (workers < minWorkers || workers > maxWorkers) {
    const bounds = `--min-workers ${minWorkers} to --max-workers ${maxWorkers}`;
    return { option: 'workers', problem: `${workers} is not from ${bounds}` };
  }
  return { workers, minWorkers, maxWorkers, elastic: { minSpare, maxSpare } };
}
