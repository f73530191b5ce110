import { z } from 'zod';
import type { Db } from '../database/database.ts';
import { BulkInsert } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { groupBy } from '../group-by.ts';
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

/** A table of points. The first columns hold what points of one moment have in common. */
interface PointTable {
  insert: BulkInsert;
  common(run: RunMetrics['run'], metric: Metric): unknown[];
  own(metric: Metric): unknown[];
}

const HISTORY: PointTable = {
  insert: new BulkInsert(
    'metrics',
    ['run_key', 'timestamp', 'step', 'is_nan', 'key', 'value'],
    // Clients send a batch again when its answer was lost.
    'ON CONFLICT DO NOTHING',
  ),
  common: ({ run_key }, { timestamp, step, isNan }) => [run_key, timestamp, step, isNan],
  own: ({ key, value }) => [key, value],
};
const LATEST: PointTable = {
  insert: new BulkInsert(
    'latest_metrics',
    ['run_key', 'timestamp', 'step', 'is_nan', 'experiment_id', 'key', 'value', 'json'],
    `ON CONFLICT (run_key, key) DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan,
     timestamp = excluded.timestamp, step = excluded.step, json = excluded.json
   WHERE (excluded.step, excluded.timestamp, excluded.value)
     > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)`,
  ),
  common: ({ run_key, experiment_id }, { timestamp, step, isNan }) => [run_key, timestamp, step, isNan, experiment_id],
  own: (metric) => [metric.key, metric.value, metricJson(metric)],
};

/** Fewer points of one moment go into one statement with those of others. */
const ALIKE = 4;

/** Points of one run. */
export interface RunMetrics {
  run: { run_key: number; experiment_id: number };
  metrics: readonly Metric[];
}

/**
 * Adds points to the metrics of runs and moves the latest values on, with few statements. No run may be there twice.
 * Points that are there already change nothing.
 */
export async function insertMetricsOfRuns(db: Db, runs: readonly RunMetrics[]): Promise<void> {
  await insertPoints(db, HISTORY, runs);
  const latest = runs.map(({ run, metrics }) => ({ run, metrics: latestOf(metrics) }));
  await insertPoints(db, LATEST, latest);
}

async function insertPoints(db: Db, { insert, common, own }: PointTable, runs: readonly RunMetrics[]): Promise<void> {
  const others: unknown[][] = [];
  for (const { run, metrics } of runs) {
    for (const points of groupBy(metrics, momentOf).values()) {
      const first = common(run, points[0]);
      if (points.length >= ALIKE) await insert.runAlike(db, first, points.map(own));
      else for (const point of points) others.push([...first, ...own(point)]);
    }
  }
  await insert.run(db, others);
}

/** The same for points that one call of a client logs, as a rule. */
function momentOf({ timestamp, step, isNan }: Metric): string {
  return `${timestamp}/${step}/${isNan}`;
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
