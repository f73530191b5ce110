import type { Db } from '../database/database.ts';
import { invalidParameter } from '../errors.ts';
import { trafficOf } from '../serving/traffic.ts';
import { approvalsOf, evidenceOf } from './decisions.ts';
import { withoutKey } from './history.ts';
import { stageMovesOf } from './stages.ts';
import type { VersionRow } from './view.ts';

const COMMIT_TAG = 'mlflow.source.git.commit';
const SHOWN_TAGS: Readonly<Record<string, string>> = {
  [COMMIT_TAG]: 'commit',
  'mlflow.source.git.repoURL': 'repository',
  'mlflow.source.git.branch': 'branch',
  'mlflow.source.name': 'source_name',
  'mlflow.user': 'user',
};

/** All that led to a version, and all that was decided about it. */
export async function lineageOf(db: Db, row: VersionRow): Promise<object> {
  const run = row.run_id === '' ? undefined : await runLineage(db, row.run_id);
  const model =
    row.model_id === ''
      ? undefined
      : await db
          .selectFrom('logged_models')
          .select(['model_id', 'name', 'model_type', 'source_run_id', 'creation_time'])
          .where('model_id', '=', row.model_id)
          .executeTakeFirst();
  const of = { model_key: row.model_key, version: row.version };
  const moves = await db
    .selectFrom('alias_moves')
    .select(['alias', 'version', 'previous', 'at', 'actor', 'reason'])
    .where('model_key', '=', row.model_key)
    .where((where) => where.or([where('version', '=', row.version), where('previous', '=', row.version)]))
    .orderBy('move_key')
    .limit(1000)
    .execute();
  const gateways = await db
    .selectFrom('gateway_models')
    .select(['gateway_id', 'served', 'alias', 'state', 'since', 'until'])
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .orderBy('row_key')
    .limit(1000)
    .execute();
  return {
    name: row.name,
    version: String(row.version),
    source: row.source,
    approval: row.approval === '' ? null : row.approval,
    run: run ?? null,
    logged_model: model ?? null,
    evidence: (await evidenceOf(db, of)).map(withoutKey),
    approvals: (await approvalsOf(db, of)).map(withoutKey),
    alias_moves: moves,
    stage_moves: await stageMovesOf(db, of),
    gateways,
    ...(await trafficOf(db, of)),
  };
}

async function runLineage(db: Db, runId: string): Promise<object | undefined> {
  const run = await db
    .selectFrom('runs')
    .select(['run_key', 'run_id', 'run_name', 'experiment_id', 'status', 'start_time', 'end_time'])
    .where('run_id', '=', runId)
    .executeTakeFirst();
  if (run === undefined) return undefined;
  const tags = await db
    .selectFrom('tags')
    .select(['key', 'value'])
    .where('run_key', '=', run.run_key)
    .where('key', 'in', Object.keys(SHOWN_TAGS))
    .execute();
  const datasets = await db
    .selectFrom('run_datasets as r')
    .innerJoin('datasets as d', 'd.dataset_key', 'r.dataset_key')
    .select(['d.name', 'd.digest', 'd.source_type', 'd.source', 'r.context'])
    .where('r.run_key', '=', run.run_key)
    .orderBy('d.name')
    .execute();
  const { run_key, experiment_id, ...shown } = run;
  return {
    ...shown,
    experiment_id: String(experiment_id),
    ...Object.fromEntries(tags.map(({ key, value }) => [SHOWN_TAGS[key], value])),
    datasets,
  };
}

/** The versions that came from a commit or from a dataset, newest first: the way from a bad input to what serves it. */
export async function versionsFrom(
  db: Db,
  from: { commit: string; dataset: string },
  limit: number,
): Promise<{ name: string; version: string; run_id: string; aliases: string[] }[]> {
  if ((from.commit === '') === (from.dataset === ''))
    throw invalidParameter("Give either 'commit', a Git commit, or 'dataset', a dataset's digest or name");
  const runs =
    from.commit === ''
      ? db
          .selectFrom('run_datasets as r')
          .innerJoin('datasets as d', 'd.dataset_key', 'r.dataset_key')
          .select('r.run_key')
          .where((where) => where.or([where('d.digest', '=', from.dataset), where('d.name', '=', from.dataset)]))
      : db.selectFrom('tags').select('run_key').where('key', '=', COMMIT_TAG).where('value', '=', from.commit);
  const rows = await db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .innerJoin('runs', 'runs.run_id', 'v.run_id')
    .select(['m.name', 'v.model_key', 'v.version', 'v.run_id'])
    .where('runs.run_key', 'in', runs)
    .orderBy('v.creation_time', 'desc')
    .orderBy('m.name')
    .orderBy('v.version', 'desc')
    .limit(limit)
    .execute();
  const keys = [...new Set(rows.map((row) => row.model_key))];
  const aliases =
    keys.length === 0 ? [] : await db.selectFrom('model_aliases').selectAll().where('model_key', 'in', keys).execute();
  return rows.map(({ name, model_key, version, run_id }) => ({
    name,
    version: String(version),
    run_id,
    aliases: aliases.filter((row) => row.model_key === model_key && row.version === version).map(({ alias }) => alias),
  }));
}
