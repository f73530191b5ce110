import { pathOfUri } from '../artifacts/path.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { run } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { createExperiment } from './experiments.ts';
import { insertMetrics, type SentMetric, toMetric } from './metrics.ts';
import { runToWrite } from './run-ref.ts';
import { insertParams, type KeyValue } from './run-values.ts';
import { createRun, type NewRun, updateRun } from './runs.ts';

/** What training writes into runs, inside a write of its own. */

/** The id of an experiment by its name; a missing one is made. Throws INVALID_PARAMETER_VALUE when it is deleted. */
export async function experimentNamed(db: Db, name: string, now: number): Promise<string> {
  const found = await db
    .selectFrom('experiments')
    .select(['experiment_id', 'lifecycle_stage'])
    .where('name', '=', name)
    .executeTakeFirst();
  if (found?.lifecycle_stage === 'deleted')
    throw invalidParameter(`experiment ${shown(name)} is deleted; restore it, or name another one`);
  return String(found?.experiment_id ?? (await createExperiment(db, now, { name, location: '', tags: [] })));
}

/** Makes a run and returns its id. */
export async function createJobRun(
  db: Db,
  { params, ...given }: NewRun & { params: readonly KeyValue[] },
  kind: RegistryDatabase['kind'],
): Promise<string> {
  const tags = [...given.tags, { key: 'mlflow.runName', value: given.name }];
  const { run_id } = await createRun(db, { ...given, tags });
  await insertParams(db, await runToWrite(db, kind, run_id), params);
  return run_id;
}

/** Adds metrics to a run but those in `others`' hands: names that the run has, and that `own` does not hold. */
export async function logJobMetrics(
  db: Db,
  kind: RegistryDatabase['kind'],
  runId: string,
  metrics: readonly Omit<SentMetric, 'model_id' | 'dataset_name' | 'dataset_digest'>[],
  own: ReadonlySet<string>,
): Promise<string[]> {
  const ref = await runToWrite(db, kind, runId);
  const names = [...new Set(metrics.map(({ key }) => key))].filter((key) => !own.has(key));
  const taken =
    names.length === 0
      ? []
      : await db
          .selectFrom('latest_metrics')
          .select('key')
          .where('run_key', '=', ref.run_key)
          .where('key', 'in', names)
          .execute();
  const foreign = new Set(taken.map(({ key }) => key));
  const mine = metrics.filter(({ key }) => !foreign.has(key));
  await insertMetrics(
    db,
    ref,
    mine.map((metric) => toMetric(metric as SentMetric)),
  );
  return [...new Set(mine.map(({ key }) => key))];
}

/** Tells a run's end, or with RUNNING that it goes on. A run that was deleted meanwhile stays as it is. */
export async function setJobRunStatus(
  db: Db,
  kind: RegistryDatabase['kind'],
  runId: string,
  status: 'SCHEDULED' | 'RUNNING' | 'FINISHED' | 'FAILED' | 'KILLED',
  endTime: number | null,
): Promise<void> {
  const [found] = await run<{ lifecycle_stage: string }>(db, 'SELECT lifecycle_stage FROM runs WHERE run_id = $1', [
    runId,
  ]);
  if (found?.lifecycle_stage !== 'active') return;
  const row = await updateRun(db, kind, runId, { status, end_time: endTime, run_name: undefined });
  if (endTime === null && row.end_time !== null)
    await run(db, 'UPDATE runs SET end_time = NULL WHERE run_key = $1', [row.run_key]);
}

export interface RunFigures {
  metrics: Record<string, number>;
  /** Changes when a metric is logged. */
  mark: string;
}

/** Last values of the metrics of runs. */
export async function figuresOf(db: Db, runIds: readonly string[]): Promise<Map<string, RunFigures>> {
  const figures = new Map<string, RunFigures>(runIds.map((id) => [id, { metrics: {}, mark: '' }]));
  if (runIds.length === 0) return figures;
  const rows = await db
    .selectFrom('latest_metrics as m')
    .innerJoin('runs as r', 'r.run_key', 'm.run_key')
    .select(['r.run_id', 'm.key', 'm.value', 'm.is_nan', 'm.timestamp', 'm.step'])
    .where('r.run_id', 'in', [...runIds])
    .orderBy('m.key')
    .execute();
  for (const { run_id, key, value, is_nan, timestamp, step } of rows) {
    const found = figures.get(run_id) as RunFigures;
    found.metrics[key] = is_nan === 1 ? Number.NaN : value;
    found.mark += `${key}:${timestamp}:${step}:${value} `;
  }
  return figures;
}

/** Where the artifacts of a run lie: a path of the artifact tree. */
export async function artifactRoot(db: Db, runId: string): Promise<string> {
  const row = await db.selectFrom('runs').select('artifact_uri').where('run_id', '=', runId).executeTakeFirst();
  const path = pathOfUri(row?.artifact_uri ?? '');
  if (path === undefined)
    throw invalidParameter(`run ${shown(runId)} keeps its artifacts outside this registry; name another experiment`);
  return path;
}
