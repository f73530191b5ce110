import { z } from 'zod';
import { MAX_JSON_DEPTH, nestsTooDeeply } from '../../shared/json-depth.ts';
import type { DatabaseKind, Db } from '../database/database.ts';
import type { SharedWrite } from '../database/group-commit.ts';
import { run } from '../database/statements.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { jsonList, keyValue, required } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { checkKey, checkLength, checkTag, LIMITS } from './limits.ts';
import { insertModelMetrics } from './logged-model-metrics.ts';
import type { MetricBacklog } from './metric-backlog.ts';
import { type Metric, metricFields, metricSchema, type RunMetrics, type SentMetric, toMetric } from './metrics.ts';
import { givenRunId, type RunRef, runsToWrite, runToWrite } from './run-ref.ts';
import { insertParams, type KeyValue, RUN_NAME_TAG, setTags } from './run-values.ts';
import { runId } from './runs.ts';
import type { TrackingContext } from './tracking.ts';

interface Batch {
  metrics: readonly SentMetric[];
  params: readonly KeyValue[];
  tags: readonly KeyValue[];
}

function checkCount(what: string, count: number, limit: number): void {
  if (count <= limit) return;
  throw invalidParameter(`A batch logging request can contain at most ${limit} ${what}. Got ${count} ${what}.`);
}

function checkParam({ key, value }: KeyValue): void {
  checkKey('param', key);
  checkLength(`value of the param ${shown(key)}`, value, LIMITS.paramValue);
}

function checkBatch({ metrics, params, tags }: Batch): void {
  checkCount('metrics', metrics.length, LIMITS.metricsPerBatch);
  checkCount('params', params.length, LIMITS.paramsPerBatch);
  checkCount('tags', tags.length, LIMITS.tagsPerBatch);
  checkCount('metrics, params, and tags', metrics.length + params.length + tags.length, LIMITS.entitiesPerBatch);
  for (const param of params) checkParam(param);
  for (const { key, value } of tags) checkTag(key, value);
}

/** A batch that was checked. */
interface RunBatch extends Batch {
  run_id: string;
  points: readonly Metric[];
}

/** Writes batches of any runs with few statements: each as a whole or not at all, several of one run in their order. */
async function writeBatches(
  db: Db,
  kind: DatabaseKind,
  backlog: MetricBacklog,
  batches: readonly RunBatch[],
): Promise<void> {
  const refs = await runsToWrite(
    db,
    kind,
    batches.map(({ run_id }) => run_id),
  );
  const points: RunMetrics[] = [];
  for (const [id, own] of groupBy(batches, ({ run_id }) => run_id)) {
    const ref = refs.get(id) as RunRef;
    points.push({ run: ref, metrics: own.length === 1 ? own[0].points : own.flatMap((batch) => batch.points) });
    for (const { params, metrics, tags } of own) {
      await insertParams(db, ref, params);
      await insertModelMetrics(db, ref, metrics);
      await setTags(db, ref, tags);
    }
  }
  await backlog.append(db, points);
}

/** Takes a batch for a run: checks it, and writes it as a whole or not at all. */
function batchLogger({ database, backlog }: TrackingContext): (id: string, batch: Batch) => Promise<void> {
  const kind: SharedWrite<Db, RunBatch, void> = {
    run: async (db, batches) => {
      await writeBatches(db, database.kind, backlog, batches);
      return batches.map(() => undefined);
    },
  };
  return async (id, batch) => {
    checkBatch(batch);
    await database.writeShared(kind, { ...batch, run_id: id, points: batch.metrics.map(toMetric) });
    if (batch.metrics.length > 0) backlog.committed(1);
  };
}

/** The run keeps its name when the name's tag goes, as with MLflow. */
async function deleteTag(db: Db, { run_key, run_id, experiment_id }: RunRef, key: string): Promise<void> {
  const deleted = await run(db, 'DELETE FROM tags WHERE run_key = $1 AND key = $2 RETURNING key', [run_key, key]);
  if (deleted.length === 0) throw doesNotExist(`No tag with name: ${key} in run with id ${run_id}`);
  if (key !== RUN_NAME_TAG) return;
  const unnamed = 'INSERT INTO runs_without_name_tag (experiment_id, run_key) VALUES ($1, $2) ON CONFLICT DO NOTHING';
  await run(db, unnamed, [experiment_id, run_key]);
}

/** The tag in which MLflow's first clients kept the models of a run. */
const MODELS_TAG = 'mlflow.log-model.history';

function parseModel(json: string): Record<string, unknown> {
  if (nestsTooDeeply(json))
    throw invalidParameter(`Malformed model info: model_json nests deeper than ${MAX_JSON_DEPTH} levels`);
  let model: unknown;
  try {
    model = JSON.parse(json);
  } catch {
    throw invalidParameter('Malformed model info: model_json is not JSON');
  }
  const wanted = ['utc_time_created', 'artifact_path', 'run_id', 'flavors'];
  const missing = wanted.filter((key) => typeof model !== 'object' || model === null || !Object.hasOwn(model, key));
  if (missing.length === 0) return model as Record<string, unknown>;
  throw invalidParameter(`Model json is missing mandatory fields: ${missing.join(', ')}`);
}

/** Throws for what is no list: the tag is one that anybody can set, and nothing of it is thrown away. */
function listedModels(value: string): unknown[] {
  const list = jsonList(value);
  if (list !== undefined) return list;
  throw invalidParameter(
    `the tag ${shown(MODELS_TAG)} of the run is ${shown(value)}, which is no JSON list of models; delete it or set it to one`,
  );
}

async function logModel({ database }: TrackingContext, id: string, json: string): Promise<void> {
  const model = parseModel(json);
  await database.write(async (db) => {
    const ref = await runToWrite(db, database.kind, id);
    const [known] = await run<{ value: string }>(db, 'SELECT value FROM tags WHERE run_key = $1 AND key = $2', [
      ref.run_key,
      MODELS_TAG,
    ]);
    const models = known === undefined ? [] : listedModels(known.value);
    const value = JSON.stringify([...models, model]);
    checkTag(MODELS_TAG, value);
    await setTags(db, ref, [{ key: MODELS_TAG, value }]);
  });
}

/** The calls that training scripts make while they run. */
export function logRoutes(context: TrackingContext): RestRoute[] {
  const { database } = context;
  const logBatch = batchLogger(context);
  const path = (call: string): string => `/api/2.0/mlflow/runs/${call}`;
  const nothing = { metrics: [], params: [], tags: [] };
  return [
    jsonRoute({
      method: 'POST',
      path: path('log-batch'),
      operationId: 'mlflowLogBatch',
      summary: 'Log metrics, params and tags of a run at once',
      maxBodyBytes: LIMITS.batchBytes,
      request: z.object({
        run_id: required,
        metrics: z.array(metricSchema).default([]),
        params: z.array(keyValue).default([]),
        tags: z.array(keyValue).default([]),
      }),
      handle: async ({ run_id, metrics, params, tags }) => {
        await logBatch(givenRunId({ run_id }), { metrics, params, tags });
        return '{}';
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('log-metric'),
      operationId: 'mlflowLogMetric',
      summary: 'Log one metric of a run',
      request: z.object({ ...runId, ...metricFields }),
      handle: async (request) => {
        await logBatch(givenRunId(request), { ...nothing, metrics: [request] });
        return '{}';
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('log-parameter'),
      operationId: 'mlflowLogParam',
      summary: 'Log one param of a run',
      request: z.object({ ...runId, ...keyValue.shape }),
      handle: async (request) => {
        await logBatch(givenRunId(request), { ...nothing, params: [request] });
        return '{}';
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('set-tag'),
      operationId: 'mlflowSetTag',
      summary: 'Set a tag of a run',
      request: z.object({ ...runId, ...keyValue.shape }),
      handle: async (request) => {
        await logBatch(givenRunId(request), { ...nothing, tags: [request] });
        return '{}';
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('delete-tag'),
      operationId: 'mlflowDeleteTag',
      summary: 'Delete a tag of a run',
      request: z.object({ run_id: required, key: required }),
      handle: async ({ run_id, key }) => {
        await database.write(async (db) => {
          await deleteTag(db, await runToWrite(db, database.kind, givenRunId({ run_id })), key);
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('log-model'),
      operationId: 'mlflowLogModel',
      summary: 'Note a model of a run in its tags, as old clients do',
      request: z.object({ run_id: required, model_json: required }),
      handle: async ({ run_id, model_json }) => {
        await logModel(context, givenRunId({ run_id }), model_json);
        return {};
      },
    }),
  ];
}
