/** A program that forks workers by itself gets workers in workers: it should know. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';

/** `workers`: how many the manager runs, where it says so. */
export function warnOfCluster(workers: number | undefined): void {
  let warned = false;
  const onChild = () => {
    // cluster.fork() lists its worker when it has started it.
    process.nextTick(() => {
      const cluster = require('node:cluster') as typeof import('node:cluster').default;
      if (warned || !cluster.isPrimary || Object.keys(cluster.workers ?? {}).length === 0) return;
      warned = true;
      unsubscribe('child_process', onChild);
      const already =
        workers === undefined ? 'already runs workers' : `already runs ${workers} of this program`;
      process.emitWarning(
        `this program forks workers of its own with node:cluster, but prefork ${already}: ` +
          'let it serve in one process (its own switch for that, or its worker module as the entry), or run it with --workers 1',
        { type: 'PreforkWarning', code: 'PREFORK_CLUSTER' },
      );
    });
  };
  subscribe('child_process', onChild);
}
