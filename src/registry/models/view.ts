import type { Selectable } from 'kysely';
import type { DatabaseKind, Db } from '../database/database.ts';
import { inKeys } from '../database/statements.ts';
import type { ModelTables } from '../database/tables/models.ts';
import { groupBy } from '../group-by.ts';

export type ModelRow = Selectable<ModelTables['registered_models']>;
/** A version with the name of its model. */
export type VersionRow = Selectable<ModelTables['model_versions']> & { name: string };

/** A version as MLflow's JSON shows it. */
export interface ShownVersion {
  name: string;
  version: string;
  creation_timestamp: number;
  last_updated_timestamp: number;
  current_stage: string;
  description?: string;
  user_id?: string;
  source: string;
  run_id?: string;
  run_link?: string;
  model_id?: string;
  status: 'READY';
  tags?: { key: string; value: string }[];
  aliases?: string[];
}

/** Versions as MLflow shows them, in the same order; tags and aliases are read in one query each, of any number. */
export async function showVersions(db: Db, kind: DatabaseKind, rows: readonly VersionRow[]): Promise<ShownVersion[]> {
  if (rows.length === 0) return [];
  const models = [...new Set(rows.map((row) => row.model_key))];
  const versions = [...new Set(rows.map((row) => row.version))];
  const tags = await db
    .selectFrom('model_version_tags')
    .selectAll()
    .where(inKeys(kind, 'model_key', models))
    .$if(rows.length === 1, (query) => query.where('version', 'in', versions))
    .orderBy('key')
    .execute();
  const aliases = await db
    .selectFrom('model_aliases')
    .selectAll()
    .where(inKeys(kind, 'model_key', models))
    .orderBy('alias')
    .execute();
  const key = (row: { model_key: number; version: number }): string => `${row.model_key}/${row.version}`;
  const tagsOf = groupBy(tags, key);
  const aliasesOf = groupBy(aliases, key);
  return rows.map((row) => ({
    name: row.name,
    version: String(row.version),
    creation_timestamp: row.creation_time,
    last_updated_timestamp: row.last_updated_time,
    current_stage: row.stage,
    ...filled('description', row.description),
    ...filled('user_id', row.user_id),
    source: row.source,
    ...filled('run_id', row.run_id),
    ...filled('run_link', row.run_link),
    ...filled('model_id', row.model_id),
    status: 'READY' as const,
    tags: tagsOf.get(key(row))?.map(({ key, value }) => ({ key, value })),
    aliases: aliasesOf.get(key(row))?.map(({ alias }) => alias),
  }));
}

/** Registered models as MLflow shows them: with the newest version of each stage. */
export async function showModels(db: Db, kind: DatabaseKind, rows: readonly ModelRow[]): Promise<object[]> {
  if (rows.length === 0) return [];
  const keys = rows.map((row) => row.model_key);
  const newest = await newestOfStages(db, rows);
  const shown = groupBy(await showVersions(db, kind, newest), (version) => version.name);
  const tags = groupBy(
    await db.selectFrom('registered_model_tags').selectAll().where('model_key', 'in', keys).orderBy('key').execute(),
    (tag) => tag.model_key,
  );
  const aliases = groupBy(
    await db.selectFrom('model_aliases').selectAll().where('model_key', 'in', keys).orderBy('alias').execute(),
    (alias) => alias.model_key,
  );
  return rows.map((row) => ({
    name: row.name,
    creation_timestamp: row.creation_time,
    last_updated_timestamp: row.last_updated_time,
    ...filled('description', row.description),
    latest_versions: shown.get(row.name),
    tags: tags.get(row.model_key)?.map(({ key, value }) => ({ key, value })),
    aliases: aliases.get(row.model_key)?.map(({ alias, version }) => ({ alias, version: String(version) })),
  }));
}

/** The newest version of each stage of each model, by stage. */
export async function newestOfStages(db: Db, models: readonly ModelRow[]): Promise<VersionRow[]> {
  const names = new Map(models.map((model) => [model.model_key, model.name]));
  const rows = await db
    .selectFrom('model_versions as v')
    .innerJoin(
      (inner) =>
        inner
          .selectFrom('model_versions')
          .select(({ fn }) => ['model_key', 'stage', fn.max('version').as('newest')])
          .where('model_key', 'in', [...names.keys()])
          .groupBy(['model_key', 'stage'])
          .as('n'),
      (join) => join.onRef('n.model_key', '=', 'v.model_key').onRef('n.newest', '=', 'v.version'),
    )
    .selectAll('v')
    .orderBy('v.version')
    .execute();
  return rows.map((row) => ({ ...row, name: names.get(row.model_key)! }));
}

/** protobuf's JSON leaves out what is empty. */
function filled<K extends string>(key: K, value: string): { [P in K]?: string } {
  return (value === '' ? {} : { [key]: value }) as { [P in K]?: string };
}
