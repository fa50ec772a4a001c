/** Public entry point `prefork`. Light: a configuration file imports it. */
import type { PreforkOptions } from './options/schema';

export type { PreforkErrorCode } from './errors';
export { exitCodes, PreforkError } from './errors';
export {
  createManager,
  type ManagedExit,
  type ManagedWorker,
  type ManagerEvents,
  type ManagerOptions,
  type ReloadOutcome,
} from './library/create-manager';
export {
  type Daemon,
  type DaemonCommand,
  type DaemonContext,
  type DaemonOptions,
  daemon,
} from './library/daemon';
export type { ManagedService } from './library/managed';
export { type PoolOptions, Prefork, type TrapAction } from './library/prefork';
export type { PreforkOptions } from './options/schema';

/**
 * For `prefork.config.ts` and `.js`: gives an editor the types, and returns its argument unchanged.
 *
 *     import { defineConfig } from 'prefork';
 *     export default defineConfig({ workers: 4, bind: 8080, gracefulTimeout: '1m' });
 */
export function defineConfig(options: PreforkOptions): PreforkOptions {
  return options;
}
