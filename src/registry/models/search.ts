import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { z } from 'zod';
import type { DatabaseKind, Db } from '../database/database.ts';
import { invalidParameter } from '../errors.ts';
import { int64, text } from '../rest/fields.ts';
import { parseFilter, parseOrderBy } from '../search/filter.ts';
import { type Comparison, NUMBER_OPERATORS, type Operator, type SearchGrammar } from '../search/grammar.ts';
import { decodePageToken, encodePageToken, queryFingerprint } from '../search/page-token.ts';
import { behind, condition, orderClause, type SortKey } from '../search/sql.ts';
import { PROMPT_TAG } from './prompts.ts';
import type { ModelRow, VersionRow } from './view.ts';

export const searchRequest = z.object({
  filter: text,
  max_results: int64.nullish(),
  order_by: z.array(z.string()).nullish(),
  page_token: text,
});
export type SearchRequest = z.output<typeof searchRequest>;

export interface Found<T> {
  rows: T[];
  next: { next_page_token?: string };
}

const NAME_OPERATORS: readonly Operator[] = ['=', '!=', 'LIKE', 'ILIKE', 'IN', 'NOT IN'];
const TEXT_OPERATORS: readonly Operator[] = ['=', '!=', 'LIKE', 'ILIKE'];
const tags = { type: 'text', operators: ['=', '!=', 'LIKE', 'ILIKE'] } as const;
const times = { type: 'number', operators: NUMBER_OPERATORS } as const;

const MODELS: SearchGrammar = {
  entities: { tags },
  entityAliases: { tag: 'tags' },
  attributes: {
    name: { type: 'text', operators: NAME_OPERATORS },
    creation_timestamp: times,
    last_updated_timestamp: times,
  },
  attributeAliases: { timestamp: 'last_updated_timestamp' },
  orderableEntities: [],
};
const VERSIONS: SearchGrammar = {
  entities: { tags },
  entityAliases: { tag: 'tags' },
  attributes: {
    name: { type: 'text', operators: NAME_OPERATORS },
    run_id: { type: 'text', operators: NAME_OPERATORS },
    source_path: { type: 'text', operators: TEXT_OPERATORS },
    version_number: times,
    creation_timestamp: times,
    last_updated_timestamp: times,
  },
  orderable: ['name', 'version_number', 'creation_timestamp', 'last_updated_timestamp'],
  orderableEntities: [],
};

const MODEL_COLUMNS: Readonly<Record<string, RawBuilder<unknown>>> = {
  name: sql.ref('m.name'),
  creation_timestamp: sql.ref('m.creation_time'),
  last_updated_timestamp: sql.ref('m.last_updated_time'),
};
const VERSION_COLUMNS: Readonly<Record<string, RawBuilder<unknown>>> = {
  name: sql.ref('m.name'),
  run_id: sql.ref('v.run_id'),
  source_path: sql.ref('v.source'),
  version_number: sql.ref('v.version'),
  creation_timestamp: sql.ref('v.creation_time'),
  last_updated_timestamp: sql.ref('v.last_updated_time'),
};

export async function searchModels(db: Db, kind: DatabaseKind, request: SearchRequest): Promise<Found<ModelRow>> {
  const plan = planSearch(request, kind, MODELS, MODEL_COLUMNS, ['name'], { usual: 100, most: 1000 });
  const rows = await db
    .selectFrom('registered_models as m')
    .selectAll('m')
    .where(sql<SqlBool>`${sql.join(plan.conditions(modelTag), sql` AND `)}`)
    .orderBy(plan.order)
    .limit(plan.limit + 1)
    .execute();
  const sortValues = (row: ModelRow): Record<string, string | number> => ({
    name: row.name,
    creation_timestamp: row.creation_time,
    last_updated_timestamp: row.last_updated_time,
  });
  return plan.page(rows, sortValues);
}

export async function searchVersions(db: Db, kind: DatabaseKind, request: SearchRequest): Promise<Found<VersionRow>> {
  const usual = ['last_updated_timestamp DESC', 'name ASC', 'version_number DESC'];
  const orderBy = request.order_by && request.order_by.length > 0 ? request.order_by : usual;
  const wish = { ...request, order_by: orderBy };
  const plan = planSearch(wish, kind, VERSIONS, VERSION_COLUMNS, ['name', '-version_number'], {
    usual: 10_000,
    most: 200_000,
  });
  const rows = await db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .selectAll('v')
    .select('m.name')
    .where(sql<SqlBool>`${sql.join(plan.conditions(versionTag), sql` AND `)}`)
    .orderBy(plan.order)
    .limit(plan.limit + 1)
    .execute();
  const sortValues = (row: VersionRow): Record<string, string | number> => ({
    name: row.name,
    version_number: row.version,
    creation_timestamp: row.creation_time,
    last_updated_timestamp: row.last_updated_time,
  });
  return plan.page(rows, sortValues);
}

interface Plan {
  limit: number;
  order: RawBuilder<unknown>;
  conditions(tagOf: TagLookup): RawBuilder<unknown>[];
  page<T>(rows: readonly T[], valuesOf: (row: T) => Record<string, string | number>): Found<T>;
}

/** Of a row's tag that fulfils a condition on `t.value`. */
type TagLookup = (key: string, value: RawBuilder<unknown>) => RawBuilder<unknown>;

const modelTag: TagLookup = (key, value) =>
  sql`EXISTS (SELECT 1 FROM registered_model_tags t WHERE t.model_key = m.model_key AND t.key = ${key} AND ${value})`;
const versionTag: TagLookup = (key, value) =>
  sql`EXISTS (SELECT 1 FROM model_version_tags t WHERE t.model_key = v.model_key AND t.version = v.version AND t.key = ${key} AND ${value})`;

/** @param ties attributes that make the order total, "-" in front: descending. */
function planSearch(
  request: SearchRequest,
  kind: DatabaseKind,
  grammar: SearchGrammar,
  columns: Readonly<Record<string, RawBuilder<unknown>>>,
  ties: readonly string[],
  { usual, most }: { usual: number; most: number },
): Plan {
  const limit = request.max_results || usual;
  if (limit < 1 || limit > most) {
    throw invalidParameter(
      `Invalid value for request parameter max_results. It must be at most ${most} and positive, but got value ${limit}`,
    );
  }
  const filter = parseFilter(request.filter, grammar);
  const wished = parseOrderBy(request.order_by ?? [], grammar).map(({ key, ascending }) => ({ key, ascending }));
  const orders = [...wished];
  for (const tie of ties) {
    const key = tie.replace('-', '');
    if (!orders.some((order) => order.key === key)) orders.push({ key, ascending: !tie.startsWith('-') });
  }
  const keys: SortKey[] = orders.map(({ key, ascending }) => ({ expression: columns[key], ascending }));
  const fingerprint = queryFingerprint([request.filter ?? '', orders]);
  const position = decodePageToken(request.page_token, fingerprint, keys.length);
  return {
    limit,
    order: orderClause(keys),
    conditions: (tagOf) => [
      sql`1 = 1`,
      ...(position === undefined ? [] : [behind(keys, position)]),
      promptCondition(filter),
      ...filter
        .filter(({ entity, key }) => !(entity === 'tags' && key === PROMPT_TAG))
        .map((comparison) =>
          comparison.entity === 'tags'
            ? tagOf(comparison.key, condition(sql.ref('t.value'), comparison, kind))
            : condition(columns[comparison.key], comparison, kind),
        ),
    ],
    page: (rows, valuesOf) => {
      const page = rows.slice(0, limit);
      if (rows.length <= limit) return { rows: page, next: {} };
      const values = valuesOf(page[limit - 1]);
      return {
        rows: page,
        next: {
          next_page_token: encodePageToken(
            fingerprint,
            orders.map(({ key }) => values[key]),
          ),
        },
      };
    },
  };
}

/** MLflow keeps prompts beside models. A search finds models, unless its filter asks for prompts. */
function promptCondition(filter: readonly Comparison[]): RawBuilder<unknown> {
  const asksForPrompts = filter.some(({ entity, key, operator, value }) => {
    if (entity !== 'tags' || key !== PROMPT_TAG) return false;
    const text = String(value).toLowerCase();
    return (operator === '=' && text === 'true') || (operator === '!=' && text === 'false');
  });
  const isPrompt = sql`EXISTS (SELECT 1 FROM registered_model_tags p WHERE p.model_key = m.model_key AND p.key = ${PROMPT_TAG} AND LOWER(p.value) = 'true')`;
  return asksForPrompts ? isPrompt : sql`NOT ${isPrompt}`;
}
