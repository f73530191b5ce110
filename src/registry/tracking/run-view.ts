import { type Selectable, sql } from 'kysely';
import type { DatabaseKind, Db } from '../database/database.ts';
import { inKeys } from '../database/statements.ts';
import type { TrackingTables } from '../database/tables/tracking.ts';
import { groupBy } from '../group-by.ts';

export type RunRow = Selectable<TrackingTables['runs']>;

interface Fragments {
  run_key: number;
  metrics: string | null;
  params: string | null;
  tags: string | null;
}

/** What is known of a run beside its row, as JSON texts without their brackets; null: none. */
interface Inputs {
  datasets: Map<number, string[]>;
  models: Map<number, { direction: string; json: string }[]>;
}

export function runInfo(row: RunRow): object {
  return {
    run_uuid: row.run_id,
    run_id: row.run_id,
    run_name: row.run_name,
    experiment_id: String(row.experiment_id),
    user_id: row.user_id,
    status: row.status,
    start_time: row.start_time,
    ...(row.end_time === null ? {} : { end_time: row.end_time }),
    artifact_uri: row.artifact_uri,
    lifecycle_stage: row.lifecycle_stage,
  };
}

/** Runs as JSON texts, in the order of the rows, by a fixed number of queries. */
export async function runTexts(db: Db, kind: DatabaseKind, rows: readonly RunRow[]): Promise<string[]> {
  if (rows.length === 0) return [];
  const keys = rows.map(({ run_key }) => run_key);
  const fragments = new Map((await readFragments(db, kind, keys)).map((row) => [row.run_key, row]));
  const inputs = await readInputs(db, kind, keys);
  return rows.map((row) => {
    const { metrics, params, tags } = fragments.get(row.run_key) as Fragments;
    const lists = [list('metrics', metrics), list('params', params), list('tags', tags)].filter((part) => part !== '');
    return `{"info":${JSON.stringify(runInfo(row))},"data":{${lists.join(',')}}${inputsText(inputs, row.run_key)}}`;
  });
}

function list(name: string, items: string | null): string {
  return items === null ? '' : `"${name}":[${items}]`;
}

async function readFragments(db: Db, kind: DatabaseKind, keys: readonly number[]): Promise<Fragments[]> {
  const part = (table: string) =>
    sql`(SELECT string_agg(json, ',') FROM ${sql.table(table)} WHERE run_key = r.run_key)`;
  const { rows } = await sql<Fragments>`
    SELECT r.run_key, ${part('latest_metrics')} AS metrics, ${part('params')} AS params, ${part('tags')} AS tags
    FROM runs r WHERE ${inKeys(kind, 'r.run_key', keys)}`.execute(db);
  return rows;
}

async function readInputs(db: Db, kind: DatabaseKind, keys: readonly number[]): Promise<Inputs> {
  const datasets = await db
    .selectFrom('run_datasets as link')
    .innerJoin('datasets as d', 'd.dataset_key', 'link.dataset_key')
    .selectAll('d')
    .select(['link.run_key', 'link.tags'])
    .where(inKeys(kind, 'link.run_key', keys))
    .execute();
  const models = await db
    .selectFrom('run_models')
    .selectAll()
    .where(inKeys(kind, 'run_key', keys))
    .execute();
  const datasetTexts = datasets.map(({ run_key, tags, name, digest, source_type, source, schema, profile }) => ({
    run_key,
    text: JSON.stringify({
      tags: JSON.parse(tags) as unknown,
      dataset: { name, digest, source_type, source, schema: schema ?? undefined, profile: profile ?? undefined },
    }),
  }));
  const modelTexts = models.map(({ run_key, direction, model_id, step }) => ({
    run_key,
    direction,
    json: JSON.stringify(direction === 'input' ? { model_id } : { model_id, step }),
  }));
  return {
    datasets: new Map(
      [...groupBy(datasetTexts, ({ run_key }) => run_key)].map(([key, items]) => [key, items.map(({ text }) => text)]),
    ),
    models: groupBy(modelTexts, ({ run_key }) => run_key),
  };
}

function inputsText({ datasets, models }: Inputs, key: number): string {
  const own = models.get(key) ?? [];
  const of = (direction: string): string =>
    own
      .filter((item) => item.direction === direction)
      .map(({ json }) => json)
      .join(',');
  const inputs = [
    list('dataset_inputs', datasets.get(key)?.join(',') ?? null),
    list('model_inputs', of('input') || null),
  ].filter((part) => part !== '');
  const outputs = list('model_outputs', of('output') || null);
  return `${inputs.length === 0 ? '' : `,"inputs":{${inputs.join(',')}}`}${outputs === '' ? '' : `,"outputs":{${outputs}}`}`;
}
