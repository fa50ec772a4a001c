/** Every metric that the manager itself has, as prom-client takes them: made from the state, the tally and the scoreboard, with nothing kept. */
import type { MemoryStatus } from '../control/protocol';
import type { State, WorkerPhase } from '../core/state';
import type { Scoreboard } from '../scoreboard/row';
import { BOUNDS, type HistogramData } from './histogram';
import type { Drops } from './queues';
import type { Tally } from './tally';

export interface Value {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** of histograms, whose series have names of their own */
  readonly metricName?: string;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly aggregator: 'sum';
  readonly values: readonly Value[];
}

export interface Facts {
  readonly state: State;
  readonly tally: Tally;
  readonly scoreboard: Scoreboard;
  readonly memory: ReadonlyMap<number, MemoryStatus>;
  /** listener's key → connections that wait */
  readonly queues: ReadonlyMap<string, number>;
  readonly drops: Drops | null;
  readonly version: string;
  readonly engine: string;
  readonly startedAtMs: number;
  readonly nowMs: number;
}

const PHASES: readonly WorkerPhase[] = ['starting', 'ready', 'draining', 'killed'];

export function families(facts: Facts): Family[] {
  const { state, tally, version, engine, startedAtMs, nowMs } = facts;
  const { data } = tally;
  return [
    gauge('prefork_build_info', 'Always 1; what runs is in the labels.', [
      { labels: { version, engine, node: process.version }, value: 1 },
    ]),
    one('gauge', 'prefork_up_seconds', 'Since the manager started.', (nowMs - startedAtMs) / 1000),
    one('gauge', 'prefork_manager_rss_bytes', 'Resident memory of the manager.', process.memoryUsage.rss()),
    one('gauge', 'prefork_generation', 'The generation that serves.', state.generation),
    one('gauge', 'prefork_workers_wanted', 'How many workers are to serve.', state.desired),
    workers(state),
    ...rows(facts),
    ...counts(facts),
    counter(
      'prefork_worker_exits_total',
      'Workers that ended: why, and by which signal or with which exit code.',
      tally.exits.map(({ labels, count }) => ({ labels, value: count })),
    ),
    one('counter', 'prefork_spawn_failures_total', 'Workers that could not be started.', data.spawnFailures),
    counter('prefork_rollouts_total', 'Rollouts that have ended, by result.', [
      { labels: { result: 'committed' }, value: data.rollouts.committed },
      { labels: { result: 'failed' }, value: data.rollouts.failed },
    ]),
    histogram(
      'prefork_worker_spawn_seconds',
      'From the decision to start a worker until its process is there.',
      data.spawnSeconds,
    ),
    histogram(
      'prefork_worker_ready_seconds',
      'From the decision to start a worker until it is ready.',
      data.readySeconds,
    ),
    histogram(
      'prefork_worker_drain_seconds',
      'From telling a worker to leave until it has ended.',
      data.drainSeconds,
    ),
    ...network(facts),
  ];
}

function workers({ workers, generation, rollout }: State): Family {
  const values = new Map<string, { labels: Record<string, string | number>; value: number }>();
  const generations = new Set([
    generation,
    ...(rollout ? [rollout.generation] : []),
    ...workers.map((w) => w.generation),
  ]);
  // Also those that are none: a series that comes and goes is hard to reckon with.
  for (const each of generations) {
    for (const state of PHASES)
      values.set(`${state} ${each}`, { labels: { state, generation: each }, value: 0 });
  }
  for (const worker of workers) values.get(`${worker.phase} ${worker.generation}`)!.value++;
  return gauge('prefork_workers', 'Workers by state and generation.', [...values.values()]);
}

interface Load {
  utilisation: number;
  lagMs: number;
  connections: number;
  rssBytes: number;
  pssBytes: number;
  privateBytes: number;
  hasMemory: boolean;
}

/** By slot: two workers of one slot, the old and the new, are one series. */
function rows({ state, scoreboard, memory }: Facts): Family[] {
  const slots = new Map<number, Load>();
  for (const { id, slot } of state.workers) {
    const row = scoreboard.read(id);
    const known = memory.get(id);
    if (row === null && known === undefined) continue;
    const load = slots.get(slot) ?? {
      utilisation: 0,
      lagMs: 0,
      connections: 0,
      rssBytes: 0,
      pssBytes: 0,
      privateBytes: 0,
      hasMemory: false,
    };
    load.utilisation = Math.max(load.utilisation, row?.utilisation ?? 0);
    load.lagMs = Math.max(load.lagMs, row?.lagMs ?? 0);
    load.connections += row?.connections ?? 0;
    load.rssBytes += row?.rssBytes ?? known?.rssBytes ?? 0;
    load.pssBytes += known?.pssBytes ?? 0;
    load.privateBytes += known?.privateBytes ?? 0;
    load.hasMemory ||= known !== undefined;
    slots.set(slot, load);
  }
  const all = [...slots];
  const of = (name: string, help: string, value: (load: Load) => number, which = all): Family =>
    gauge(
      name,
      help,
      which.map(([slot, load]) => ({ labels: { slot }, value: value(load) })),
    );
  const measured = all.filter(([, load]) => load.hasMemory);
  return [
    of(
      'prefork_worker_utilisation_ratio',
      'Share of time in which the event loop worked, by slot; the highest of its workers.',
      (l) => l.utilisation,
    ),
    of(
      'prefork_worker_loop_lag_seconds',
      'By how much the last heartbeat of the event loop was late, by slot.',
      (l) => l.lagMs / 1000,
    ),
    of('prefork_worker_connections', 'Open connections, by slot.', (l) => l.connections),
    of('prefork_worker_rss_bytes', 'Resident memory, by slot.', (l) => l.rssBytes),
    of(
      'prefork_worker_pss_bytes',
      'Memory with what is shared divided by those who share it, by slot; up to 15 s old.',
      (l) => l.pssBytes,
      measured,
    ),
    of(
      'prefork_worker_private_bytes',
      "Memory that is nobody else's, by slot; up to 15 s old.",
      (l) => l.privateBytes,
      measured,
    ),
  ];
}

function counts({ state, tally }: Facts): Family[] {
  const bySlot = [...tally.counts(state)];
  const of = (name: string, help: string, which: 'requests' | 'bytesRead' | 'bytesWritten'): Family =>
    counter(
      name,
      help,
      bySlot.map(([slot, counts]) => ({ labels: { slot }, value: counts[which] })),
    );
  return [
    of('prefork_requests_total', 'Requests answered, by slot, workers that have ended included.', 'requests'),
    of('prefork_received_bytes_total', 'Taken in by connections that have ended, by slot.', 'bytesRead'),
    of('prefork_sent_bytes_total', 'Sent by connections that have ended, by slot.', 'bytesWritten'),
  ];
}

function network({ queues, drops }: Facts): Family[] {
  const waiting = [...queues].map(([listener, value]) => ({ labels: { listener }, value }));
  return [
    gauge('prefork_listener_backlog', 'Connections that wait to be accepted, by TCP listener.', waiting),
    ...(drops === null
      ? []
      : [
          one(
            'counter',
            'prefork_host_listen_overflows_total',
            'Connections lost to full accept queues, of the whole network namespace.',
            drops.overflows,
          ),
          one(
            'counter',
            'prefork_host_listen_drops_total',
            'Connections dropped by listening sockets for any reason, of the whole network namespace.',
            drops.drops,
          ),
        ]),
  ];
}

const family = (type: Family['type'], name: string, help: string, values: readonly Value[]): Family => ({
  name,
  help,
  type,
  aggregator: 'sum',
  values,
});
const gauge = (name: string, help: string, values: readonly Value[]): Family =>
  family('gauge', name, help, values);
const counter = (name: string, help: string, values: readonly Value[]): Family =>
  family('counter', name, help, values);
const one = (type: 'gauge' | 'counter', name: string, help: string, value: number): Family =>
  family(type, name, help, [{ labels: {}, value }]);

function histogram(name: string, help: string, { counts, sum }: HistogramData): Family {
  let total = 0;
  const buckets = counts.map((count, at) => {
    total += count;
    return { labels: { le: BOUNDS[at] ?? '+Inf' }, value: total, metricName: `${name}_bucket` };
  });
  return family('histogram', name, help, [
    ...buckets,
    { labels: {}, value: sum, metricName: `${name}_sum` },
    { labels: {}, value: total, metricName: `${name}_count` },
  ]);
}
