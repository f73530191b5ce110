import { createHash } from 'node:crypto';
import type { RegistryDatabase } from '../database/database.ts';
import { inPairs, inTexts } from '../database/statements.ts';
import { groupBy } from '../group-by.ts';
import { manifestDigest } from '../manifest/manifest.ts';
import { manifestsOf, pairOf } from '../models/files.ts';
import type { VersionRow } from '../models/view.ts';
import { REQUIREMENTS_TAG } from './requirements.ts';
import type { Deployment, Follow, FollowedModel, Resolution } from './types.ts';

/** Digests that are kept; a version's never changes, once its files are fixed. */
const MAX_DIGESTS = 50_000;
/** Versions whose files are read by one query. */
const AT_ONCE = 200;

interface Pointed {
  row: VersionRow;
  followed: FollowedModel;
}

/**
 * What gateways should serve. However many models one follows, a look takes a handful of queries, and files are read once
 * per version.
 */
export class Resolver {
  private readonly database: RegistryDatabase;
  private readonly digests = new Map<string, string>();

  constructor(database: RegistryDatabase) {
    this.database = database;
  }

  /** What a gateway that follows these should serve now. Models and aliases that do not exist are left out. */
  async resolve(follow: Follow): Promise<Resolution> {
    const current = await this.pointedTo(follow);
    const known = new Set(current.map(({ row }) => idOf(row)));
    const models = [...current.map(({ followed }) => followed), ...follow.models];
    const byName = new Map(models.map((model) => [model.name, model]));
    const newest = await this.newestOf([...byName.keys()]);
    const next: Pointed[] = [];
    for (const [name, { served }] of byName) {
      const row = newest.get(name);
      if (row !== undefined && !known.has(idOf(row))) next.push({ row, followed: { name, alias: '', served } });
    }
    const both = await this.deployments([...current, ...next]);
    const deployments = both.slice(0, current.length);
    const upcoming = both.slice(current.length);
    const mark = createHash('sha256')
      .update(JSON.stringify([deployments, upcoming]))
      .digest('base64url');
    return { mark, deployments, upcoming };
  }

  private async pointedTo(follow: Follow): Promise<Pointed[]> {
    const named = groupBy(follow.models, ({ name, alias }) => JSON.stringify([name, alias]));
    const names = [...new Set(follow.models.map(({ name }) => name))];
    const rows = await this.database.read((db) =>
      db
        .selectFrom('model_aliases as a')
        .innerJoin('registered_models as m', 'm.model_key', 'a.model_key')
        .innerJoin('model_versions as v', (join) =>
          join.onRef('v.model_key', '=', 'a.model_key').onRef('v.version', '=', 'a.version'),
        )
        .selectAll('v')
        .select(['m.name', 'a.alias'])
        .where((where) =>
          where.or([inTexts(this.database.kind, 'm.name', names), where('a.alias', '=', follow.everyAlias)]),
        )
        .orderBy('m.name')
        .orderBy('a.alias')
        .execute(),
    );
    return rows.flatMap(({ alias, ...row }): Pointed[] => {
      const wanted = named.get(JSON.stringify([row.name, alias]));
      if (wanted !== undefined)
        return wanted.map(({ served }) => ({ row, followed: { name: row.name, alias, served } }));
      if (alias !== follow.everyAlias) return [];
      return [{ row, followed: { name: row.name, alias, served: row.name } }];
    });
  }

  /** The last version of each model that can have files. */
  private async newestOf(names: readonly string[]): Promise<Map<string, VersionRow>> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('registered_models as m')
        .innerJoin('model_versions as v', 'v.model_key', 'm.model_key')
        .selectAll('v')
        .select('m.name')
        .where(inTexts(this.database.kind, 'm.name', names))
        .where('v.version', '=', (query) =>
          query
            .selectFrom('model_versions as x')
            .select(({ fn }) => fn.max('x.version').as('version'))
            .whereRef('x.model_key', '=', 'm.model_key')
            .where('x.storage_location', '!=', ''),
        )
        .execute(),
    );
    return new Map(rows.map((row) => [row.name, row]));
  }

  private async deployments(pointed: readonly Pointed[]): Promise<Deployment[]> {
    const rows = pointed.map(({ row }) => row);
    const digests = await this.digestsOf(rows);
    const tags = await this.database.read((db) =>
      db
        .selectFrom('model_version_tags')
        .select(['model_key', 'version', 'value'])
        .where('key', '=', REQUIREMENTS_TAG)
        .where(inPairs(this.database.kind, ['model_key', 'version'], rows.map(pairOf)))
        .execute(),
    );
    const requirements = new Map(tags.map((tag) => [String(pairOf(tag)), tag.value]));
    return pointed.map(({ row, followed: { name, alias, served } }) => ({
      name,
      alias,
      served,
      version: String(row.version),
      digest: digests.get(idOf(row)) ?? '',
      requirements: requirements.get(String(pairOf(row))) ?? '',
    }));
  }

  private async digestsOf(rows: readonly VersionRow[]): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    const unknown: VersionRow[] = [];
    for (const row of rows) {
      const digest = this.digests.get(idOf(row));
      if (digest === undefined) unknown.push(row);
      else found.set(idOf(row), digest);
    }
    for (let i = 0; i < unknown.length; i += AT_ONCE) {
      const some = unknown.slice(i, i + AT_ONCE);
      for (const [row, manifest] of await this.database.read((db) => manifestsOf(db, this.database.kind, some))) {
        const digest = manifestDigest(manifest);
        found.set(idOf(row), digest);
        this.digests.set(idOf(row), digest);
      }
    }
    if (this.digests.size > MAX_DIGESTS) this.digests.clear();
    return found;
  }
}

/** A manifest names its model: a renamed one has others. */
function idOf({ model_key, version, name }: VersionRow): string {
  return JSON.stringify([model_key, version, name]);
}
