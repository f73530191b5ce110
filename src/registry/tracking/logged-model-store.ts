import type { Selectable } from 'kysely';
import type { DatabaseKind, Db } from '../database/database.ts';
import { BulkInsert, inKeys } from '../database/statements.ts';
import type { TrackingTables } from '../database/tables/tracking.ts';
import { doesNotExist } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import type { KeyValue } from './run-values.ts';

export type LoggedModelRow = Selectable<TrackingTables['logged_models']>;

/** MLflow's numbers of the states, by position. */
export const MODEL_STATUSES = [
  'LOGGED_MODEL_STATUS_UNSPECIFIED',
  'LOGGED_MODEL_PENDING',
  'LOGGED_MODEL_READY',
  'LOGGED_MODEL_UPLOAD_FAILED',
] as const;

/** Throws RESOURCE_DOES_NOT_EXIST, also for a deleted one. */
export async function loggedModelById(db: Db, id: string): Promise<LoggedModelRow> {
  const row = await db
    .selectFrom('logged_models')
    .selectAll()
    .where('model_id', '=', id)
    .where('lifecycle_stage', '=', 'active')
    .executeTakeFirst();
  if (row === undefined) throw doesNotExist(`Logged model with ID ${JSON.stringify(id.slice(0, 200))} not found`);
  return row;
}

/** Throws RESOURCE_DOES_NOT_EXIST for the first that is not there. */
export async function requireLoggedModels(db: Db, ids: readonly string[]): Promise<void> {
  for (const id of new Set(ids)) await loggedModelById(db, id);
}

export const MODEL_PARAMS = new BulkInsert('logged_model_params', ['model_key', 'key', 'value'], '');
export const MODEL_TAGS = new BulkInsert(
  'logged_model_tags',
  ['model_key', 'key', 'value'],
  'ON CONFLICT (model_key, key) DO UPDATE SET value = excluded.value',
);

export function keyed(modelKey: number, values: readonly KeyValue[]): unknown[][] {
  return values.map(({ key, value }) => [modelKey, key, value]);
}

/** Logged models as MLflow shows them, by a fixed number of queries. */
export async function loggedModelViews(db: Db, kind: DatabaseKind, rows: readonly LoggedModelRow[]): Promise<object[]> {
  if (rows.length === 0) return [];
  const keys = rows.map(({ model_key }) => model_key);
  const values = (table: 'logged_model_params' | 'logged_model_tags') =>
    db
      .selectFrom(table)
      .selectAll()
      .where(inKeys(kind, 'model_key', keys))
      .orderBy('key')
      .execute();
  const params = groupBy(await values('logged_model_params'), ({ model_key }) => model_key);
  const tags = groupBy(await values('logged_model_tags'), ({ model_key }) => model_key);
  const metrics = groupBy(
    await db
      .selectFrom('logged_model_metrics')
      .selectAll()
      .where(inKeys(kind, 'model_key', keys))
      .orderBy('key')
      .orderBy('timestamp')
      .execute(),
    ({ model_key }) => model_key,
  );
  const plain = (list: readonly KeyValue[] | undefined): KeyValue[] | undefined =>
    list?.map(({ key, value }) => ({ key, value }));
  return rows.map((row) => ({
    info: {
      model_id: row.model_id,
      experiment_id: String(row.experiment_id),
      name: row.name,
      creation_timestamp_ms: row.creation_time,
      last_updated_timestamp_ms: row.last_update_time,
      artifact_uri: row.artifact_uri,
      status: row.status,
      model_type: row.model_type || undefined,
      source_run_id: row.source_run_id || undefined,
      status_message: row.status_message || undefined,
      tags: plain(tags.get(row.model_key)),
    },
    data: {
      params: plain(params.get(row.model_key)),
      metrics: metrics.get(row.model_key)?.map((metric) => ({
        key: metric.key,
        value: metric.is_nan === 1 ? 'NaN' : metric.value,
        timestamp: metric.timestamp,
        step: metric.step,
        dataset_name: metric.dataset_name || undefined,
        dataset_digest: metric.dataset_digest || undefined,
        model_id: row.model_id,
        run_id: metric.run_id,
      })),
    },
  }));
}
