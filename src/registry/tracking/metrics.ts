import { z } from 'zod';
import type { Db } from '../database/database.ts';
import { BulkInsert } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { double, int64, required, text } from '../rest/fields.ts';
import { checkKey } from './limits.ts';

/** A metric as clients send it. */
export const metricFields = {
  key: required,
  value: double,
  timestamp: int64,
  step: int64.default(0),
  model_id: text,
  dataset_name: text,
  dataset_digest: text,
};
export const metricSchema = z.object(metricFields);
export type SentMetric = z.output<typeof metricSchema>;

/** A metric as it is stored. */
export interface Metric {
  key: string;
  value: number;
  isNan: 0 | 1;
  timestamp: number;
  step: number;
}

/** NaN is a mark and 0; infinities become the largest numbers, as in MLflow's own stores. Throws for bad names. */
export function toMetric({ key, value, timestamp, step }: SentMetric): Metric {
  checkKey('metric', key);
  if (timestamp < 0)
    throw invalidParameter(
      `Invalid value ${shown(timestamp)} for parameter 'timestamp' of metric ${shown(key)}: it must not be negative`,
    );
  const isNan = Number.isNaN(value) ? 1 : 0;
  // -0 and 0 are one value.
  const stored = isNan === 1 ? 0 : Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value)) + 0;
  return { key, value: stored, isNan, timestamp, step };
}

/** As an answer shows it. */
export function metricJson({ key, value, isNan, timestamp, step }: Metric): string {
  return `{"key":${JSON.stringify(key)},"value":${isNan === 1 ? '"NaN"' : value},"timestamp":${timestamp},"step":${step}}`;
}

const HISTORY = new BulkInsert(
  'metrics',
  ['run_key', 'key', 'timestamp', 'step', 'value', 'is_nan'],
  // Clients send a batch again when its answer was lost.
  'ON CONFLICT DO NOTHING',
);
const LATEST = new BulkInsert(
  'latest_metrics',
  ['run_key', 'key', 'value', 'is_nan', 'timestamp', 'step', 'experiment_id', 'json'],
  `ON CONFLICT (run_key, key) DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan,
     timestamp = excluded.timestamp, step = excluded.step, json = excluded.json
   WHERE (excluded.step, excluded.timestamp, excluded.value)
     > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)`,
);

/** Points of one run. */
export interface RunMetrics {
  run: { run_key: number; experiment_id: number };
  metrics: readonly Metric[];
}

/** Adds points to a run's metrics and moves the latest values on. Points that are there already change nothing. */
export function insertMetrics(db: Db, run: RunMetrics['run'], metrics: readonly Metric[]): Promise<void> {
  return insertMetricsOfRuns(db, [{ run, metrics }]);
}

/** As insertMetrics, for several runs with as few statements as for one. No run may be there twice. */
export async function insertMetricsOfRuns(db: Db, runs: readonly RunMetrics[]): Promise<void> {
  const history = runs.flatMap(({ run, metrics }) =>
    metrics.map(({ key, value, isNan, timestamp, step }) => [run.run_key, key, timestamp, step, value, isNan]),
  );
  if (history.length === 0) return;
  await HISTORY.run(db, history);
  const latest = runs.flatMap(({ run, metrics }) =>
    latestOf(metrics).map((metric) => [
      run.run_key,
      metric.key,
      metric.value,
      metric.isNan,
      metric.timestamp,
      metric.step,
      run.experiment_id,
      metricJson(metric),
    ]),
  );
  await LATEST.run(db, latest);
}

/** One point per name: that of the highest step, then time, then value. */
function latestOf(metrics: readonly Metric[]): Metric[] {
  const latest = new Map<string, Metric>();
  for (const metric of metrics) {
    const other = latest.get(metric.key);
    if (other === undefined || isLater(metric, other)) latest.set(metric.key, metric);
  }
  return [...latest.values()];
}

function isLater(a: Metric, b: Metric): boolean {
  return a.step - b.step > 0 || (a.step === b.step && (a.timestamp - b.timestamp || a.value - b.value) > 0);
}
