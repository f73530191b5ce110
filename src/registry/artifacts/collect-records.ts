import type { DatabaseKind, Db, RegistryDatabase } from '../database/database.ts';
import { inKeys, inTexts } from '../database/statements.ts';
import { type Bounds, experimentIsDoomed, loggedModelIsDoomed, runIsDoomed } from './deletion-rules.ts';

/** What is no longer there, not even marked as deleted. */
export interface Records {
  runs: number;
  logged_models: number;
  experiments: number;
}

/** Rows of so many runs or models go in one write, some ten milliseconds. */
const AT_ONCE = 100;
/** As many rows of a run's metrics. */
const METRICS_AT_ONCE = 5000;

/** What a collection would remove. */
export async function countRecords(db: Db, bounds: Bounds): Promise<Records> {
  const { runs } = await db
    .selectFrom('runs')
    .select(({ fn }) => fn.countAll().as('runs'))
    .where(runIsDoomed(bounds))
    .executeTakeFirstOrThrow();
  const { models } = await db
    .selectFrom('logged_models')
    .select(({ fn }) => fn.countAll().as('models'))
    .where(loggedModelIsDoomed(bounds))
    .executeTakeFirstOrThrow();
  const { experiments } = await db
    .selectFrom('experiments')
    .select(({ fn }) => fn.countAll().as('experiments'))
    .where(experimentIsDoomed(bounds))
    .executeTakeFirstOrThrow();
  return { runs: Number(runs), logged_models: Number(models), experiments: Number(experiments) };
}

/**
 * Removes runs, logged models and experiments that were deleted before its bound, with all that was logged to them. Each
 * goes in one write, so that it is restored as a whole or not at all; only the metrics of a run, which may be many, go
 * after it, and a later collection goes on with them. Models go first: they hold their runs, and runs their experiment.
 */
export async function collectRecords(database: RegistryDatabase, bounds: Bounds): Promise<Records> {
  const { kind } = database;
  const models = await database.read((db) =>
    db.selectFrom('logged_models').select('model_key as key').where(loggedModelIsDoomed(bounds)).execute(),
  );
  const logged_models = await inBatches(database, models, (db, keys) => removeModels(db, kind, keys, bounds));
  const runs = await database.read((db) =>
    db.selectFrom('runs').select('run_key as key').where(runIsDoomed(bounds)).execute(),
  );
  const removed = await inBatches(database, runs, (db, keys) => removeRuns(db, kind, keys, bounds));
  while (await database.write(removeMetrics));
  const experiments = await database.write((db) => removeExperiments(db, kind, bounds));
  return { runs: removed, logged_models, experiments };
}

async function inBatches(
  database: RegistryDatabase,
  rows: readonly { key: number }[],
  remove: (db: Db, keys: number[]) => Promise<number>,
): Promise<number> {
  let removed = 0;
  for (let i = 0; i < rows.length; i += AT_ONCE) {
    const keys = rows.slice(i, i + AT_ONCE).map(({ key }) => key);
    removed += await database.write((db) => remove(db, keys));
  }
  return removed;
}

/** Asked again: meanwhile one may have been restored, or registered. */
async function removeModels(db: Db, kind: DatabaseKind, keys: number[], bounds: Bounds): Promise<number> {
  const gone = await db
    .deleteFrom('logged_models')
    .where(inKeys(kind, 'model_key', keys))
    .where(loggedModelIsDoomed(bounds))
    .returning(['model_key', 'model_id'])
    .execute();
  if (gone.length === 0) return 0;
  const modelKeys = gone.map(({ model_key }) => model_key);
  for (const table of ['logged_model_params', 'logged_model_tags', 'logged_model_metrics'] as const)
    await db
      .deleteFrom(table)
      .where(inKeys(kind, 'model_key', modelKeys))
      .execute();
  const ids = gone.map(({ model_id }) => model_id);
  await db
    .deleteFrom('run_models')
    .where(inTexts(kind, 'model_id', ids))
    .execute();
  return gone.length;
}

/** All but their metrics, which are noted. */
async function removeRuns(db: Db, kind: DatabaseKind, keys: number[], bounds: Bounds): Promise<number> {
  const gone = await db
    .deleteFrom('runs')
    .where(inKeys(kind, 'run_key', keys))
    .where(runIsDoomed(bounds))
    .returning('run_key')
    .execute();
  if (gone.length === 0) return 0;
  const runKeys = gone.map(({ run_key }) => run_key);
  const theirs = ['params', 'tags', 'latest_metrics', 'metric_backlog', 'run_datasets', 'run_models'] as const;
  for (const table of [...theirs, 'runs_without_name_tag'] as const)
    await db
      .deleteFrom(table)
      .where(inKeys(kind, 'run_key', runKeys))
      .execute();
  await db.insertInto('collected_runs').values(gone).execute();
  return gone.length;
}

/** Some metrics of runs that are gone. @returns whether there are more */
async function removeMetrics(db: Db): Promise<boolean> {
  let left = METRICS_AT_ONCE;
  for (const { run_key } of await db.selectFrom('collected_runs').selectAll().limit(AT_ONCE).execute()) {
    if (left <= 0) return true;
    // Where to stop; undefined: the run has fewer.
    const last = await db
      .selectFrom('metrics')
      .select(['key', 'timestamp', 'step'])
      .where('run_key', '=', run_key)
      .orderBy('key')
      .orderBy('timestamp')
      .orderBy('step')
      .offset(left)
      .limit(1)
      .executeTakeFirst();
    let removal = db.deleteFrom('metrics').where('run_key', '=', run_key);
    if (last !== undefined)
      removal = removal.where(({ eb, refTuple, tuple }) =>
        eb(refTuple('key', 'timestamp', 'step'), '<=', tuple(last.key, last.timestamp, last.step)),
      );
    left -= Number((await removal.executeTakeFirst()).numDeletedRows);
    if (last === undefined) await db.deleteFrom('collected_runs').where('run_key', '=', run_key).execute();
  }
  return (await db.selectFrom('collected_runs').select('run_key').limit(1).executeTakeFirst()) !== undefined;
}

async function removeExperiments(db: Db, kind: DatabaseKind, bounds: Bounds): Promise<number> {
  const gone = await db
    .deleteFrom('experiments')
    .where(experimentIsDoomed(bounds))
    .returning('experiment_id')
    .execute();
  const ids = gone.map(({ experiment_id }) => experiment_id);
  for (const table of ['experiment_tags', 'datasets'] as const)
    await db
      .deleteFrom(table)
      .where(inKeys(kind, 'experiment_id', ids))
      .execute();
  return gone.length;
}
