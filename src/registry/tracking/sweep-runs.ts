import type { DatabaseKind, Db } from '../database/database.ts';
import { run } from '../database/statements.ts';
import { insertMetricsOfRuns, toMetric } from './metrics.ts';
import { findRun, runToWrite } from './run-ref.ts';
import { insertParams } from './run-values.ts';

/** What sweeps read of their trials' runs and write into them, inside a read or write of the caller. */

export interface MetricPoint {
  step: number;
  value: number;
}

const POINTS = `SELECT step, value, is_nan FROM metrics WHERE run_key = $1 AND key = $2 ORDER BY step, timestamp`;

/** A metric of a run by step, the last value of each; none for a run that is gone. */
export async function metricPoints(db: Db, runId: string, key: string): Promise<MetricPoint[]> {
  const [found] = await run<{ run_key: number }>(db, 'SELECT run_key FROM runs WHERE run_id = $1', [runId]);
  if (found === undefined) return [];
  const rows = await run<{ step: number; value: number; is_nan: number }>(db, POINTS, [found.run_key, key]);
  const last = new Map(rows.map(({ step, value, is_nan }) => [step, is_nan === 1 ? Number.NaN : value]));
  return Array.from(last, ([step, value]) => ({ step, value }));
}

/** Adds the params that a run does not have by itself: a script that logs its own, in its own writing, keeps them. */
export async function addMissingParams(
  db: Db,
  kind: DatabaseKind,
  runId: string,
  params: Readonly<Record<string, string>>,
): Promise<void> {
  const ref = await runToWrite(db, kind, runId);
  const rows = await run<{ key: string }>(db, 'SELECT key FROM params WHERE run_key = $1', [ref.run_key]);
  const known = new Set(rows.map(({ key }) => key));
  const missing = Object.entries(params).filter(([key]) => !known.has(key));
  await insertParams(
    db,
    ref,
    missing.map(([key, value]) => ({ key, value })),
  );
}

/** Adds one value to a metric of a run. */
export async function addMetric(
  db: Db,
  runId: string,
  { key, value, step, timestamp }: { key: string; value: number; step: number; timestamp: number },
): Promise<void> {
  const ref = await findRun(db, runId);
  const point = {
    key,
    value,
    step,
    timestamp,
    model_id: undefined,
    dataset_name: undefined,
    dataset_digest: undefined,
  };
  await insertMetricsOfRuns(db, [{ run: ref, metrics: [toMetric(point)] }]);
}
