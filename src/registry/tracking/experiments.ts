import type { Selectable } from 'kysely';
import { z } from 'zod';
import type { DatabaseKind, Db } from '../database/database.ts';
import { inKeys, run } from '../database/statements.ts';
import type { TrackingTables } from '../database/tables/tracking.ts';
import { alreadyExists, doesNotExist, invalidParameter, RegistryError, shown } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { keyValue, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { checkLength, checkTag, LIMITS } from './limits.ts';
import type { TrackingContext } from './tracking.ts';

export type ExperimentRow = Selectable<TrackingTables['experiments']>;

/** An experiment's id as its number. Throws RESOURCE_DOES_NOT_EXIST: ids of another form name nothing. */
export function experimentNumber(id: string): number {
  if (/^\d{1,15}$/.test(id)) return Number(id);
  throw doesNotExist(`No Experiment with id=${id.slice(0, 100)} exists`);
}

export async function experimentById(db: Db, id: string): Promise<ExperimentRow> {
  const [row] = await run<ExperimentRow>(db, 'SELECT * FROM experiments WHERE experiment_id = $1', [
    experimentNumber(id),
  ]);
  if (row === undefined) throw doesNotExist(`No Experiment with id=${id} exists`);
  return row;
}

/** As experimentById; throws INVALID_PARAMETER_VALUE when it is deleted. */
export async function activeExperiment(db: Db, id: string): Promise<ExperimentRow> {
  const row = await experimentById(db, id);
  if (row.lifecycle_stage === 'active') return row;
  throw invalidParameter(
    `The experiment ${row.experiment_id} must be in the 'active' state; it is ${row.lifecycle_stage}`,
  );
}

/** Experiments as MLflow shows them, their tags read in one query. */
export async function withTags(db: Db, kind: DatabaseKind, rows: readonly ExperimentRow[]): Promise<object[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.experiment_id);
  const tags = await db
    .selectFrom('experiment_tags')
    .selectAll()
    .where(inKeys(kind, 'experiment_id', ids))
    .orderBy('key')
    .execute();
  const byExperiment = groupBy(tags, (tag) => tag.experiment_id);
  return rows.map((row) => ({
    experiment_id: String(row.experiment_id),
    name: row.name,
    artifact_location: row.artifact_location,
    lifecycle_stage: row.lifecycle_stage,
    last_update_time: row.last_update_time,
    creation_time: row.creation_time,
    tags: byExperiment.get(row.experiment_id)?.map(({ key, value }) => ({ key, value })),
  }));
}

function checkName(name: string): void {
  if (name.trim() === '') throw invalidParameter('Invalid experiment name: it must not be empty');
  checkLength('the experiment name', name, LIMITS.experimentName);
}

/** Only clients write below it; it still must be a URI that names one place. */
function checkLocation(location: string): void {
  checkLength('artifact_location', location, LIMITS.artifactLocation);
  const plain = /^[a-z][a-z0-9+.-]*:[^?#]*$/i.test(location) && !/(^|[/\\])\.\.([/\\]|$)/.test(decodeLoosely(location));
  if (plain) return;
  throw invalidParameter(
    `Invalid value ${shown(location)} for parameter 'artifact_location' supplied: give a URI with a scheme, without query, fragment and ".."`,
  );
}

function decodeLoosely(location: string): string {
  try {
    return decodeURIComponent(location);
  } catch {
    return location;
  }
}

export async function createExperiment(
  db: Db,
  now: number,
  { name, location, tags }: { name: string; location: string; tags: readonly { key: string; value: string }[] },
): Promise<number> {
  const inserted = await db
    .insertInto('experiments')
    .values({ name, artifact_location: location, lifecycle_stage: 'active', creation_time: now, last_update_time: now })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returning('experiment_id')
    .executeTakeFirst();
  if (inserted === undefined) throw await nameTaken(db, name);
  const id = inserted.experiment_id;
  if (location === '') {
    await db
      .updateTable('experiments')
      .set({ artifact_location: `mlflow-artifacts:/${id}` })
      .where('experiment_id', '=', id)
      .execute();
  }
  for (const tag of tags) await setTag(db, id, tag);
  return id;
}

async function nameTaken(db: Db, name: string): Promise<RegistryError> {
  const taken = await db
    .selectFrom('experiments')
    .select('lifecycle_stage')
    .where('name', '=', name)
    .executeTakeFirst();
  if (taken?.lifecycle_stage !== 'deleted') return alreadyExists(`Experiment(name=${name}) already exists`);
  return alreadyExists(
    `Experiment ${shown(name)} already exists in deleted state. You can restore the experiment, or take another name`,
  );
}

async function setTag(db: Db, id: number, { key, value }: { key: string; value: string }): Promise<void> {
  await db
    .insertInto('experiment_tags')
    .values({ experiment_id: id, key, value })
    .onConflict((conflict) => conflict.columns(['experiment_id', 'key']).doUpdateSet({ value }))
    .execute();
}

async function rename(db: Db, now: number, id: string, name: string): Promise<void> {
  const row = await experimentById(db, id);
  if (row.lifecycle_stage !== 'active')
    throw new RegistryError('INVALID_STATE', 'Cannot rename a non-active experiment; restore it first');
  if (row.name === name) return;
  const other = await db.selectFrom('experiments').select('experiment_id').where('name', '=', name).executeTakeFirst();
  if (other !== undefined) throw await nameTaken(db, name);
  await db
    .updateTable('experiments')
    .set({ name, last_update_time: now })
    .where('experiment_id', '=', row.experiment_id)
    .execute();
}

/** Deletes or restores an experiment together with its runs. */
async function setStage(db: Db, now: number, id: string, stage: 'active' | 'deleted'): Promise<void> {
  const row = await experimentById(db, id);
  if (row.lifecycle_stage === stage) throw doesNotExist(`No Experiment with id=${id} exists that is not ${stage}`);
  await db
    .updateTable('experiments')
    .set({ lifecycle_stage: stage, last_update_time: now })
    .where('experiment_id', '=', row.experiment_id)
    .execute();
  await db
    .updateTable('runs')
    .set({ lifecycle_stage: stage, deleted_time: stage === 'deleted' ? now : null })
    .where('experiment_id', '=', row.experiment_id)
    .execute();
}

const byId = z.object({ experiment_id: required });

export function experimentRoutes({ database, events, now }: TrackingContext): RestRoute[] {
  const path = (call: string): string => `/api/2.0/mlflow/experiments/${call}`;
  return [
    jsonRoute({
      method: 'POST',
      path: path('create'),
      operationId: 'mlflowCreateExperiment',
      summary: 'Create an experiment',
      request: z.object({ name: required, artifact_location: text, tags: z.array(keyValue).default([]) }),
      handle: async ({ name, artifact_location, tags }) => {
        const location = artifact_location ?? '';
        checkName(name);
        if (location !== '') checkLocation(location);
        for (const tag of tags) checkTag(tag.key, tag.value, LIMITS.experimentTagValue);
        const id = await database.write((db) => createExperiment(db, now(), { name, location, tags }));
        events.emit('experiment.created', { experiment_id: String(id), name });
        return { experiment_id: String(id) };
      },
    }),
    jsonRoute({
      method: 'GET',
      path: path('get'),
      operationId: 'mlflowGetExperiment',
      summary: 'One experiment, deleted or not',
      request: byId,
      handle: ({ experiment_id }) =>
        database.read(async (db) => {
          const [experiment] = await withTags(db, database.kind, [await experimentById(db, experiment_id)]);
          return { experiment };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: path('get-by-name'),
      operationId: 'mlflowGetExperimentByName',
      summary: 'One experiment by its name, deleted or not',
      request: z.object({ experiment_name: required }),
      handle: ({ experiment_name }) =>
        database.read(async (db) => {
          const row = await db
            .selectFrom('experiments')
            .selectAll()
            .where('name', '=', experiment_name)
            .executeTakeFirst();
          if (row === undefined) throw doesNotExist(`Could not find experiment with name ${shown(experiment_name)}`);
          const [experiment] = await withTags(db, database.kind, [row]);
          return { experiment };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: path('update'),
      operationId: 'mlflowUpdateExperiment',
      summary: 'Rename an experiment',
      request: byId.extend({ new_name: text }),
      handle: async ({ experiment_id, new_name }) => {
        if (new_name === undefined || new_name === null) return {};
        checkName(new_name);
        await database.write((db) => rename(db, now(), experiment_id, new_name));
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('delete'),
      operationId: 'mlflowDeleteExperiment',
      summary: 'Mark an experiment and its runs as deleted',
      request: byId,
      handle: async ({ experiment_id }) => {
        await database.write((db) => setStage(db, now(), experiment_id, 'deleted'));
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('restore'),
      operationId: 'mlflowRestoreExperiment',
      summary: 'Restore a deleted experiment and its runs',
      request: byId,
      handle: async ({ experiment_id }) => {
        await database.write((db) => setStage(db, now(), experiment_id, 'active'));
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('set-experiment-tag'),
      operationId: 'mlflowSetExperimentTag',
      summary: 'Set a tag of an experiment',
      request: byId.extend(keyValue.shape),
      handle: async ({ experiment_id, key, value }) => {
        checkTag(key, value, LIMITS.experimentTagValue);
        await database.write(async (db) => {
          const { experiment_id: id } = await activeExperiment(db, experiment_id);
          await setTag(db, id, { key, value });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('delete-experiment-tag'),
      operationId: 'mlflowDeleteExperimentTag',
      summary: 'Delete a tag of an experiment',
      request: byId.extend({ key: required }),
      handle: async ({ experiment_id, key }) => {
        await database.write(async (db) => {
          const { experiment_id: id } = await activeExperiment(db, experiment_id);
          const { numDeletedRows } = await db
            .deleteFrom('experiment_tags')
            .where('experiment_id', '=', id)
            .where('key', '=', key)
            .executeTakeFirst();
          if (Number(numDeletedRows) === 0)
            throw doesNotExist(`No tag with name: ${key} in experiment with id ${experiment_id}`);
        });
        return {};
      },
    }),
  ];
}
