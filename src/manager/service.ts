/** What a manager is to keep up, and where its options come from. */
import type { Policy } from '../core/policy';
import type { Address } from '../options/address';
import type { Launch } from './launch';

/** Read anew for every generation. */
export interface GenerationPlan {
  readonly policy: Policy;
  readonly launch: Launch;
  /** addresses that this generation's configuration names */
  readonly bind: readonly Address[];
}

export interface Service extends GenerationPlan {
  readonly reusePort: boolean;
  /** the operator's backlog; null: the program's own */
  readonly backlog: number | null;
  readonly statusFile: string | null;
  /** Reads the configuration again. Rejects with an Error whose message says what is wrong. */
  readonly reload: () => Promise<GenerationPlan>;
}
