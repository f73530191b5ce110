import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { DatabaseKind, Db } from '../../registry/database/database.ts';
import type { DatasetTables } from '../../registry/database/tables/datasets.ts';
import { invalidParameter } from '../../registry/errors.ts';
import { parseFilter, parseOrderBy } from '../../registry/search/filter.ts';
import {
  KEYED_OPERATORS,
  NUMBER_OPERATORS,
  type SearchGrammar,
  TEXT_OPERATORS,
} from '../../registry/search/grammar.ts';
import { decodePageToken, encodePageToken, queryFingerprint } from '../../registry/search/page-token.ts';
import { behind, condition, integerCondition, orderClause, type SortKey } from '../../registry/search/sql.ts';
import type { Schema } from '../batch.ts';
import type { Profile } from '../profile.ts';
import type { DatasetOrigin, DatasetRef, DatasetVersion } from './dataset.ts';

type VersionRow = Omit<DatasetTables['dataset_versions'], 'version_key' | 'profile'> & { version_key: number };
export type FullRow = VersionRow & Pick<DatasetTables['dataset_names'], 'description' | 'owner' | 'readers'>;

const COLUMNS = [
  'v.version_key',
  'v.name',
  'v.version',
  'v.kind',
  'v.digest',
  'v.mlflow_digest',
  'v.size',
  'v.row_count',
  'v.schema',
  'v.source',
  'v.parents',
  'v.run_id',
  'v.rejects',
  'v.rejects_digest',
  'v.actor',
  'v.created_at',
  'n.description',
  'n.owner',
  'n.readers',
] as const;

const versions = (db: Db) =>
  db.selectFrom('dataset_versions as v').innerJoin('dataset_names as n', 'n.name', 'v.name').select(COLUMNS);

/** @param version undefined: the latest */
export async function findVersion(db: Db, name: string, version: number | undefined): Promise<FullRow | undefined> {
  const query = versions(db).where('v.name', '=', name);
  return version === undefined
    ? query.orderBy('v.version', 'desc').limit(1).executeTakeFirst()
    : query.where('v.version', '=', version).executeTakeFirst();
}

export async function profileOf(db: Db, { version_key }: Pick<FullRow, 'version_key'>): Promise<Profile> {
  const { profile } = await db
    .selectFrom('dataset_versions')
    .select('profile')
    .where('version_key', '=', version_key)
    .executeTakeFirstOrThrow();
  return JSON.parse(profile) as Profile;
}

/** Rows with their tags, as the rest of the program has them. */
export async function views(db: Db, rows: readonly FullRow[]): Promise<DatasetVersion[]> {
  if (rows.length === 0) return [];
  const keys = rows.map(({ version_key }) => version_key);
  const tags = await db
    .selectFrom('dataset_tags')
    .selectAll()
    .where('version_key', 'in', keys)
    .orderBy('key')
    .execute();
  return rows.map((row) => ({
    name: row.name,
    version: row.version,
    kind: row.kind,
    digest: row.digest,
    mlflowDigest: row.mlflow_digest,
    size: row.size,
    rows: row.row_count,
    schema: JSON.parse(row.schema) as Schema,
    source: JSON.parse(row.source) as DatasetOrigin,
    parents: JSON.parse(row.parents) as DatasetRef[],
    runId: row.run_id,
    rejects: row.rejects,
    tags: Object.fromEntries(
      tags.filter(({ version_key }) => version_key === row.version_key).map(({ key, value }) => [key, value]),
    ),
    actor: row.actor,
    createdAt: row.created_at,
    description: row.description,
    owner: row.owner,
    readers: JSON.parse(row.readers) as string[],
  }));
}

const GRAMMAR: SearchGrammar = {
  entities: { tags: { type: 'text', operators: KEYED_OPERATORS } },
  entityAliases: { tag: 'tags' },
  attributes: {
    name: { type: 'text', operators: TEXT_OPERATORS },
    kind: { type: 'text', operators: TEXT_OPERATORS },
    digest: { type: 'text', operators: TEXT_OPERATORS },
    owner: { type: 'text', operators: TEXT_OPERATORS },
    actor: { type: 'text', operators: TEXT_OPERATORS },
    run_id: { type: 'text', operators: TEXT_OPERATORS },
    version: { type: 'number', operators: NUMBER_OPERATORS },
    rows: { type: 'number', operators: NUMBER_OPERATORS },
    size: { type: 'number', operators: NUMBER_OPERATORS },
    created_at: { type: 'number', operators: NUMBER_OPERATORS },
  },
  orderable: ['name', 'version', 'rows', 'size', 'created_at'],
  orderableEntities: [],
};
const SQL_COLUMNS: Readonly<Record<string, RawBuilder<unknown>>> = {
  name: sql.ref('v.name'),
  kind: sql.ref('v.kind'),
  digest: sql.ref('v.digest'),
  owner: sql.ref('n.owner'),
  actor: sql.ref('v.actor'),
  run_id: sql.ref('v.run_id'),
  version: sql.ref('v.version'),
  rows: sql.ref('v.row_count'),
  size: sql.ref('v.size'),
  created_at: sql.ref('v.created_at'),
};

export interface SearchRequest {
  filter?: string | undefined;
  orderBy?: readonly string[] | undefined;
  maxResults?: number | undefined;
  pageToken?: string | undefined;
  /** Every version, not only the latest of each name. */
  allVersions: boolean;
  /** Who asks; undefined: everything is shown. */
  reader?: string | undefined;
}

const MAX_RESULTS = 1000;

/** By filter, page after page. Usual order: the newest first. Throws invalid_argument. */
export async function searchVersions(
  db: Db,
  kind: DatabaseKind,
  request: SearchRequest,
): Promise<{ rows: FullRow[]; nextPageToken: string }> {
  const limit = request.maxResults ?? 100;
  if (limit < 1 || limit > MAX_RESULTS) throw invalidParameter(`max_results must be 1 to ${MAX_RESULTS}, not ${limit}`);
  const filter = parseFilter(request.filter, GRAMMAR);
  const wished = request.orderBy === undefined || request.orderBy.length === 0 ? ['created_at DESC'] : request.orderBy;
  const orders = parseOrderBy(wished, GRAMMAR);
  for (const key of ['name', 'version'])
    if (!orders.some((order) => order.key === key))
      orders.push({ entity: 'attribute', key, ascending: key === 'name' });
  const keys: SortKey[] = orders.map(({ key, ascending }) => ({ expression: SQL_COLUMNS[key], ascending }));
  const fingerprint = queryFingerprint([request.filter ?? '', orders, request.allVersions]);
  const position = decodePageToken(request.pageToken, fingerprint, keys.length);
  const conditions = [
    sql`1 = 1`,
    ...(request.allVersions
      ? []
      : [sql`v.version = (SELECT MAX(w.version) FROM dataset_versions w WHERE w.name = v.name)`]),
    ...(request.reader === undefined ? [] : [readable(request.reader)]),
    ...(position === undefined ? [] : [behind(keys, position)]),
    ...filter.map((comparison) => {
      if (comparison.entity === 'attribute') {
        const numeric = GRAMMAR.attributes[comparison.key].type === 'number';
        return (numeric ? integerCondition : condition)(SQL_COLUMNS[comparison.key], comparison, kind);
      }
      const has = (test: RawBuilder<unknown>): RawBuilder<unknown> =>
        sql`EXISTS (SELECT 1 FROM dataset_tags t WHERE t.version_key = v.version_key AND t.key = ${comparison.key} AND ${test})`;
      if (comparison.operator === 'IS NULL') return sql`NOT ${has(sql`1 = 1`)}`;
      if (comparison.operator === 'IS NOT NULL') return has(sql`1 = 1`);
      return has(condition(sql.ref('t.value'), comparison, kind));
    }),
  ];
  const found = await versions(db)
    .where(sql<SqlBool>`${sql.join(conditions, sql` AND `)}`)
    .orderBy(orderClause(keys))
    .limit(limit + 1)
    .execute();
  const rows = found.slice(0, limit);
  if (found.length <= limit) return { rows, nextPageToken: '' };
  const last = rows[limit - 1];
  const values: Record<string, string | number> = { ...last, rows: last.row_count };
  return {
    rows,
    nextPageToken: encodePageToken(
      fingerprint,
      orders.map(({ key }) => values[key]),
    ),
  };
}

/** As mayRead of dataset.ts. Names have no quotes, so that a name is found in the JSON as it is. */
function readable(actor: string): RawBuilder<unknown> {
  const reader = actor.startsWith('job ') ? 'jobs' : actor;
  return sql`(n.owner = ${actor} OR n.readers LIKE '%"*"%' OR n.readers LIKE ${`%"${escaped(reader)}"%`} ESCAPE '!')`;
}

/** A text for LIKE … ESCAPE '!'. */
function escaped(text: string): string {
  return text.replace(/[%_!]/g, '!$&');
}

/** Versions that were made of this one. */
export function childrenOf(db: Db, { name, version }: DatasetRef): Promise<{ name: string; version: number }[]> {
  const text = `%${escaped(JSON.stringify({ name, version }))}%`;
  return db
    .selectFrom('dataset_versions')
    .select(['name', 'version'])
    .where(sql<SqlBool>`parents LIKE ${text} ESCAPE '!'`)
    .orderBy('version_key')
    .limit(1000)
    .execute();
}
