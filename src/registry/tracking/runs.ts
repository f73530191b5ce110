import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { type Change, commit, sharedCommit } from '../commit.ts';
import type { DatabaseKind, Db } from '../database/database.ts';
import { BulkInsert, run } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { int64, keyValue, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { activeExperiment, type ExperimentRow } from './experiments.ts';
import { checkLength, checkTag, LIMITS } from './limits.ts';
import { readMetrics } from './metric-backlog.ts';
import { randomName } from './names.ts';
import { findRun, givenRunId, type RunRef, runToWrite } from './run-ref.ts';
import { type KeyValue, keyValueJson, RUN_NAME_TAG, setTags, writeTags } from './run-values.ts';
import { type RunRow, runInfo, runTexts } from './run-view.ts';
import type { TrackingContext } from './tracking.ts';

const STATUSES = ['RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED'] as const;

export const runId = { run_id: text, run_uuid: text };

/** A run by its public id. Throws RESOURCE_DOES_NOT_EXIST. */
async function runRow(db: Db, id: string): Promise<RunRow> {
  const { run_key } = await findRun(db, id);
  return db.selectFrom('runs').selectAll().where('run_key', '=', run_key).executeTakeFirstOrThrow();
}

export interface NewRun {
  experiment_id: string;
  user_id: string;
  start_time: number;
  name: string;
  tags: readonly KeyValue[];
}

const COLUMNS = [
  'run_id',
  'experiment_id',
  'run_name',
  'user_id',
  'status',
  'lifecycle_stage',
  'start_time',
  'artifact_uri',
];
const RUNS = new BulkInsert('runs', COLUMNS, 'RETURNING run_key, run_id');
const RUNS_BY_KEY = new BulkInsert('runs', ['run_key', ...COLUMNS], '');

/**
 * A new run's id: 32 hexadecimal digits, of a UUID of version 7. Those of one moment are neighbours in the index, where
 * those of chance would each change a page of their own.
 */
function newRunId(at: number): string {
  return `${at.toString(16).padStart(12, '0')}7${randomUUID().replaceAll('-', '').slice(13)}`;
}

/**
 * Inserts runs and gives their keys, in their order. On SQLite, where nobody else writes meanwhile, the keys are given out
 * here: to read them from the database costs as much as to write them.
 */
async function insertRuns(db: Db, kind: DatabaseKind, rows: readonly (readonly unknown[])[]): Promise<number[]> {
  if (kind === 'sqlite') {
    const [last] = await run<{ seq: number }>(db, "SELECT seq FROM sqlite_sequence WHERE name = 'runs'", []);
    const next = (last?.seq ?? 0) + 1;
    await RUNS_BY_KEY.run(
      db,
      rows.map((row, i) => [next + i, ...row]),
    );
    return rows.map((_, i) => next + i);
  }
  const inserted = await RUNS.run<{ run_key: number; run_id: string }>(db, rows);
  const keys = new Map(inserted.map(({ run_id, run_key }) => [run_id, run_key]));
  return rows.map(([run_id]) => keys.get(run_id as string) as number);
}

/** A run that was made, and its answer. */
export interface CreatedRun {
  run_id: string;
  text: string;
}

/** Makes one run. Throws as activeExperiment does. */
export async function createRun(db: Db, kind: DatabaseKind, given: NewRun): Promise<CreatedRun> {
  const [created] = await createRuns(db, kind, [given]);
  return created;
}

/** Makes runs with few statements, in their order. */
export async function createRuns(db: Db, kind: DatabaseKind, given: readonly NewRun[]): Promise<CreatedRun[]> {
  const experiments = new Map<string, ExperimentRow>();
  for (const { experiment_id: id } of given)
    if (!experiments.has(id)) experiments.set(id, await activeExperiment(db, id));
  const now = Date.now();
  const rows = given.map(({ experiment_id, user_id, start_time, name }) => {
    const experiment = experiments.get(experiment_id) as ExperimentRow;
    const run_id = newRunId(now);
    return {
      run_id,
      experiment_id: experiment.experiment_id,
      run_name: name,
      user_id,
      status: 'RUNNING' as const,
      lifecycle_stage: 'active' as const,
      start_time,
      end_time: null,
      deleted_time: null,
      artifact_uri: `${experiment.artifact_location.replace(/\/+$/, '')}/${run_id}/artifacts`,
    };
  });
  const keys = await insertRuns(
    db,
    kind,
    rows.map((row) => [
      ...[row.run_id, row.experiment_id, row.run_name, row.user_id],
      ...[row.status, row.lifecycle_stage, row.start_time, row.artifact_uri],
    ]),
  );
  const made = rows.map((row, i) => ({ ref: { ...row, run_key: keys[i] }, tags: given[i].tags }));
  await writeTags(db, made);
  return made.map(({ ref, tags }) => ({ run_id: ref.run_id, text: runText(ref, tags) }));
}

/** As the answer to its making shows it. */
function runText(row: RunRow, tags: readonly KeyValue[]): string {
  const shownTags = [...new Map(tags.map(({ key, value }) => [key, keyValueJson(key, value)])).values()].join(',');
  return `{"run":{"info":${JSON.stringify(runInfo(row))},"data":{"tags":[${shownTags}]}}}`;
}

/** Makes runs and says so. */
async function announcedRuns(db: Db, kind: DatabaseKind, given: readonly NewRun[]): Promise<Change<string>[]> {
  const created = await createRuns(db, kind, given);
  return created.map(({ run_id, text }, i) => {
    const { experiment_id, user_id, start_time, name } = given[i];
    const data = { run_id, experiment_id, run_name: name, user_id, start_time, status: 'RUNNING' };
    return { value: text, happenings: [{ entity: 'run', action: 'created', data }] };
  });
}

/** The name and the tags of a new run: each may bring the name, and they may not disagree. */
function namedTags(name: string, tags: readonly KeyValue[]): { name: string; tags: readonly KeyValue[] } {
  const tagged = tags.findLast(({ key }) => key === RUN_NAME_TAG)?.value ?? '';
  if (name !== '' && tagged !== '' && name !== tagged) {
    throw invalidParameter(
      `Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name=${shown(name)}, mlflow.runName=${shown(tagged)})`,
    );
  }
  const chosen = name || tagged || randomName();
  return { name: chosen, tags: tagged === '' ? [...tags, { key: RUN_NAME_TAG, value: chosen }] : tags };
}

interface RunUpdate {
  status: string | null | undefined;
  end_time: number | null | undefined;
  run_name: string | null | undefined;
}

export async function updateRun(db: Db, kind: DatabaseKind, id: string, update: RunUpdate): Promise<RunRow> {
  const ref = await runToWrite(db, kind, id);
  const set: string[] = [];
  const values: unknown[] = [];
  const assign = (column: string, value: unknown): void => {
    if (value === undefined || value === null) return;
    values.push(value);
    set.push(`${column} = $${values.length}`);
  };
  assign('status', update.status);
  assign('end_time', update.end_time);
  if (set.length > 0) {
    values.push(ref.run_key);
    await run(db, `UPDATE runs SET ${set.join(', ')} WHERE run_key = $${values.length}`, values);
  }
  if (update.run_name) await setTags(db, ref, [{ key: RUN_NAME_TAG, value: update.run_name }]);
  return db.selectFrom('runs').selectAll().where('run_key', '=', ref.run_key).executeTakeFirstOrThrow();
}

async function setStage(db: Db, id: string, stage: 'active' | 'deleted', now: number): Promise<RunRef> {
  const ref = await findRun(db, id);
  const deleted = stage === 'deleted' ? now : null;
  const text = 'UPDATE runs SET lifecycle_stage = $1, deleted_time = $2 WHERE run_key = $3';
  await run(db, text, [stage, deleted, ref.run_key]);
  return ref;
}

const statusSchema = z.union([
  z.enum(STATUSES),
  // Their numbers in MLflow's protobuf.
  z
    .int()
    .min(1)
    .max(5)
    .transform((number) => STATUSES[number - 1]),
]);

export function runRoutes(context: TrackingContext): RestRoute[] {
  const { database, now } = context;
  const create = sharedCommit(context, (db, given: readonly NewRun[]) => announcedRuns(db, database.kind, given));
  const path = (call: string): string => `/api/2.0/mlflow/runs/${call}`;
  const stageRoute = (verb: 'delete' | 'restore', stage: 'active' | 'deleted'): RestRoute =>
    jsonRoute({
      method: 'POST',
      path: path(verb),
      operationId: verb === 'delete' ? 'mlflowDeleteRun' : 'mlflowRestoreRun',
      summary: verb === 'delete' ? 'Mark a run as deleted' : 'Restore a deleted run',
      request: z.object({ run_id: required }),
      handle: async ({ run_id }) => {
        await commit(context, async (db, at, note) => {
          const { experiment_id } = await setStage(db, run_id, stage, at);
          const data = { run_id, experiment_id: String(experiment_id), lifecycle_stage: stage };
          note({ entity: 'run', action: stage === 'deleted' ? 'deleted' : 'updated', data });
        });
        return {};
      },
    });
  return [
    jsonRoute({
      method: 'POST',
      path: path('create'),
      operationId: 'mlflowCreateRun',
      summary: 'Create a run',
      request: z.object({
        experiment_id: text,
        user_id: text,
        start_time: int64.nullish(),
        run_name: text,
        tags: z.array(keyValue).default([]),
      }),
      handle: async ({ experiment_id, user_id, start_time, run_name, tags: sent }) => {
        for (const { key, value } of sent) checkTag(key, value);
        checkLength('run_name', run_name ?? '', LIMITS.tagValue);
        const { name, tags } = namedTags(run_name ?? '', sent);
        const user = user_id ?? '';
        checkLength('user_id', user, LIMITS.key);
        const given = {
          experiment_id: experiment_id || '0',
          user_id: user,
          start_time: start_time ?? now(),
          name,
          tags,
        };
        return create(given);
      },
    }),
    jsonRoute({
      method: 'GET',
      path: path('get'),
      operationId: 'mlflowGetRun',
      summary: 'One run with its latest metrics, params, tags, inputs and outputs',
      request: z.object(runId),
      handle: (request) =>
        readMetrics(database, async (db) => {
          const [text] = await runTexts(db, database.kind, [await runRow(db, givenRunId(request))]);
          return `{"run":${text}}`;
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: path('update'),
      operationId: 'mlflowUpdateRun',
      summary: 'Change status, end time or name of a run',
      request: z.object({ ...runId, status: statusSchema.nullish(), end_time: int64.nullish(), run_name: text }),
      handle: async (request) => {
        const { status, end_time, run_name } = request;
        checkLength('run_name', run_name ?? '', LIMITS.tagValue);
        const id = givenRunId(request);
        return commit(context, async (db, _, note) => {
          const row = await updateRun(db, database.kind, id, { status, end_time, run_name });
          const { run_id, experiment_id, status: now, end_time: end } = row;
          const data = {
            run_id,
            experiment_id: String(experiment_id),
            run_name: row.run_name,
            status: now,
            end_time: end,
          };
          note({ entity: 'run', action: 'updated', data });
          return { run_info: runInfo(row) };
        });
      },
    }),
    stageRoute('delete', 'deleted'),
    stageRoute('restore', 'active'),
  ];
}
