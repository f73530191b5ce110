import { pathOfUri } from '../artifacts/path.ts';
import { putArtifact } from '../artifacts/tree.ts';
import type { Digest } from '../blobs/digest.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { inKeys, inTexts, run } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { createExperiment } from './experiments.ts';
import { insertDataset } from './inputs.ts';
import { moveAll, readMetrics } from './metric-backlog.ts';
import { insertMetricsOfRuns, type Metric, type SentMetric, toMetric } from './metrics.ts';
import { runToWrite } from './run-ref.ts';
import { insertParams, type KeyValue, RUN_NAME_TAG } from './run-values.ts';
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
  const tags = [...given.tags, { key: RUN_NAME_TAG, value: given.name }];
  const { run_id } = await createRun(db, kind, { ...given, tags });
  await insertParams(db, await runToWrite(db, kind, run_id), params);
  return run_id;
}

/** A file of data that a run reads. */
export interface RunData {
  /** Below the run's artifacts: a name for its bytes, so that they stay as long as the run does. */
  path: string;
  digest: Digest;
  size: number;
  mediaType: string;
  dataset: { name: string; digest: string; source_type: string; source: string; profile: string };
}

/** Notes what data a run reads, as MLflow's log-inputs does. The caller has claimed the blobs in the same write. */
export async function noteRunData(
  db: Db,
  kind: RegistryDatabase['kind'],
  runId: string,
  data: readonly RunData[],
  now: number,
): Promise<void> {
  const ref = await runToWrite(db, kind, runId);
  const root = await artifactRoot(db, runId);
  for (const { dataset, path, ...file } of data) {
    await putArtifact(db, { ...file, path: `${root}/${path}` }, now);
    const tags = [{ key: 'mlflow.data.context', value: 'training' }];
    const { profile, ...facts } = dataset;
    await insertDataset(db, ref, { tags, dataset: { ...facts, schema: null, profile: profile || null } });
  }
}

/** Metrics of one run that training has read. */
export interface JobMetrics {
  runId: string;
  points: readonly JobPoint[];
  /** Names that training has written before. Others that the run has are in somebody else's hands. */
  own: ReadonlySet<string>;
}

export interface JobPoint {
  key: string;
  value: number;
  step: number;
  /** Milliseconds since 1970. */
  timestamp: number;
}

/**
 * Adds metrics to runs, but those in others' hands: names that a run has, and that `own` does not hold. Returns the names
 * that were written, by run. What no metric may be called is left out; a run that was deleted meanwhile takes nothing.
 */
export async function logJobMetrics(
  db: Db,
  kind: RegistryDatabase['kind'],
  jobs: readonly JobMetrics[],
): Promise<Map<string, Set<string>>> {
  const refs = await activeRuns(
    db,
    kind,
    jobs.map(({ runId }) => runId),
  );
  const strangers = jobs.flatMap(({ runId, points, own }) => {
    const ref = refs.get(runId);
    return ref !== undefined && points.some(({ key }) => !own.has(key)) ? [ref.run_key] : [];
  });
  const taken = new Map<number, Set<string>>(strangers.map((key) => [key, new Set()]));
  if (strangers.length > 0) {
    await moveAll(db);
    const rows = await db
      .selectFrom('latest_metrics')
      .select(['run_key', 'key'])
      .where(inKeys(kind, 'run_key', strangers))
      .execute();
    for (const { run_key, key } of rows) taken.get(run_key)?.add(key);
  }
  const written = new Map<string, Set<string>>();
  const runs = jobs.flatMap(({ runId, points, own }) => {
    const ref = refs.get(runId);
    if (ref === undefined) return [];
    const foreign = taken.get(ref.run_key);
    const metrics = points.flatMap((point) => {
      if (!own.has(point.key) && foreign?.has(point.key) === true) return [];
      return storable(point);
    });
    written.set(runId, new Set(metrics.map(({ key }) => key)));
    return [{ run: ref, metrics }];
  });
  await insertMetricsOfRuns(db, runs);
  return written;
}

/** None for a name that no metric may have: what a script prints must not stop its job. */
function storable(point: JobPoint): Metric[] {
  try {
    return [toMetric(point as SentMetric)];
  } catch {
    return [];
  }
}

/** The active ones of runs, locked for this write where the database has locks. */
async function activeRuns(
  db: Db,
  kind: RegistryDatabase['kind'],
  runIds: readonly string[],
): Promise<Map<string, { run_key: number; experiment_id: number }>> {
  let query = db
    .selectFrom('runs')
    .select(['run_id', 'run_key', 'experiment_id'])
    .where(inTexts(kind, 'run_id', runIds))
    .where('lifecycle_stage', '=', 'active');
  // In one order, so that two such writes never wait for one another.
  if (kind === 'postgres') query = query.orderBy('run_key').forUpdate();
  return new Map((await query.execute()).map(({ run_id, ...ref }) => [run_id, ref]));
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
export async function figuresOf(
  database: RegistryDatabase,
  runIds: readonly string[],
): Promise<Map<string, RunFigures>> {
  const figures = new Map<string, RunFigures>(runIds.map((id) => [id, { metrics: {}, mark: '' }]));
  if (runIds.length === 0) return figures;
  const rows = await readMetrics(database, (db) =>
    db
      .selectFrom('latest_metrics as m')
      .innerJoin('runs as r', 'r.run_key', 'm.run_key')
      .select(['r.run_id', 'm.key', 'm.value', 'm.is_nan', 'm.timestamp', 'm.step'])
      .where(inTexts(database.kind, 'r.run_id', runIds))
      .orderBy('m.key')
      .execute(),
  );
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
