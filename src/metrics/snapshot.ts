/** A registry of prom-client as JSON, as workers send it: checked, since it is the program's word. */

export interface SnapshotMetric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: string;
  readonly values: readonly SnapshotValue[];
}

interface SnapshotValue {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  readonly metricName?: string;
}

export type Snapshot = readonly SnapshotMetric[];

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$/;
const TYPES = new Set(['counter', 'gauge', 'histogram', 'summary']);
const AGGREGATORS = new Set(['sum', 'first', 'omit', 'average', 'min', 'max']);
/** Names of the manager's own. */
const OWN = /^prefork_/;

export function isSnapshot(value: unknown): value is Snapshot {
  return Array.isArray(value) && value.every(isMetric);
}

function isMetric(metric: Partial<SnapshotMetric> | null): boolean {
  return (
    typeof metric?.name === 'string' &&
    NAME.test(metric.name) &&
    !OWN.test(metric.name) &&
    typeof metric.help === 'string' &&
    TYPES.has(String(metric.type)) &&
    AGGREGATORS.has(String(metric.aggregator)) &&
    Array.isArray(metric.values) &&
    metric.values.every(isValue)
  );
}

function isValue(value: Partial<SnapshotValue> | null): boolean {
  const { labels, metricName } = value ?? {};
  return (
    typeof value?.value === 'number' &&
    (metricName === undefined || (typeof metricName === 'string' && NAME.test(metricName))) &&
    typeof labels === 'object' &&
    labels !== null &&
    Object.entries(labels).every(
      ([name, text]) => NAME.test(name) && (typeof text === 'string' || typeof text === 'number'),
    )
  );
}
