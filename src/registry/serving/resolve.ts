import { createHash } from 'node:crypto';
import type { Db } from '../database/database.ts';
import { manifestDigest } from '../manifest/manifest.ts';
import { manifestOf } from '../models/files.ts';
import type { VersionRow } from '../models/view.ts';
import { REQUIREMENTS_TAG } from './requirements.ts';
import type { Deployment, Follow, FollowedModel, Resolution } from './types.ts';

/** What a gateway that follows these should serve now. Models and aliases that do not exist are left out. */
export async function resolve(db: Db, follow: Follow): Promise<Resolution> {
  const deployments: Deployment[] = [];
  const upcoming: Deployment[] = [];
  for (const { row, followed } of await pointedTo(db, follow)) deployments.push(await deployment(db, row, followed));
  const known = new Set(deployments.map(({ name, version }) => JSON.stringify([name, version])));
  for (const followed of new Map([...deployments, ...follow.models].map((model) => [model.name, model])).values()) {
    const row = await newestOf(db, followed.name);
    if (row === undefined || known.has(JSON.stringify([row.name, String(row.version)]))) continue;
    upcoming.push(await deployment(db, row, { name: followed.name, alias: '', served: followed.served }));
  }
  const mark = createHash('sha256')
    .update(JSON.stringify([deployments, upcoming]))
    .digest('base64url');
  return { mark, deployments, upcoming };
}

async function pointedTo(db: Db, follow: Follow): Promise<{ row: VersionRow; followed: FollowedModel }[]> {
  const query = db
    .selectFrom('model_aliases as a')
    .innerJoin('registered_models as m', 'm.model_key', 'a.model_key')
    .innerJoin('model_versions as v', (join) =>
      join.onRef('v.model_key', '=', 'a.model_key').onRef('v.version', '=', 'a.version'),
    )
    .selectAll('v')
    .select(['m.name', 'a.alias'])
    .where((where) =>
      where.or([
        ...follow.models.map(({ name, alias }) =>
          where.and([where('m.name', '=', name), where('a.alias', '=', alias)]),
        ),
        ...(follow.everyAlias === '' ? [] : [where('a.alias', '=', follow.everyAlias)]),
      ]),
    )
    .orderBy('m.name')
    .orderBy('a.alias');
  const rows = await query.execute();
  const found: { row: VersionRow; followed: FollowedModel }[] = [];
  for (const { alias, ...row } of rows) {
    const named = follow.models.filter((model) => model.name === row.name && model.alias === alias);
    for (const { served } of named) found.push({ row, followed: { name: row.name, alias, served } });
    if (named.length === 0) found.push({ row, followed: { name: row.name, alias, served: row.name } });
  }
  return found;
}

async function newestOf(db: Db, name: string): Promise<VersionRow | undefined> {
  return db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .selectAll('v')
    .select('m.name')
    .where('m.name', '=', name)
    .where('v.storage_location', '!=', '')
    .orderBy('v.version', 'desc')
    .limit(1)
    .executeTakeFirst();
}

async function deployment(db: Db, row: VersionRow, { name, alias, served }: FollowedModel): Promise<Deployment> {
  const manifest = await manifestOf(db, row);
  const tag = await db
    .selectFrom('model_version_tags')
    .select('value')
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .where('key', '=', REQUIREMENTS_TAG)
    .executeTakeFirst();
  return {
    name,
    alias,
    served,
    version: String(row.version),
    digest: manifest === undefined ? '' : manifestDigest(manifest),
    requirements: tag?.value ?? '',
  };
}
