import { type RawBuilder, sql } from 'kysely';
import { z } from 'zod';
import type { DatabaseKind } from '../database/database.ts';
import { invalidParameter, shown } from '../errors.ts';
import { int64, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { parseFilter, parseOrderBy } from '../search/filter.ts';
import {
  type Comparison,
  KEYED_OPERATORS,
  NUMBER_OPERATORS,
  type SearchGrammar,
  TEXT_OPERATORS,
} from '../search/grammar.ts';
import { readPage } from '../search/keyset-page.ts';
import { decodePageToken, queryFingerprint } from '../search/page-token.ts';
import { condition, integerCondition, type SortKey } from '../search/sql.ts';
import { type ExperimentRow, withTags } from './experiments.ts';
import { stagesOf, viewType } from './run-search.ts';
import type { TrackingContext } from './tracking.ts';

const MAX_RESULTS = 50_000;

const GRAMMAR: SearchGrammar = {
  entities: { tags: { type: 'text', operators: KEYED_OPERATORS } },
  entityAliases: { tag: 'tags' },
  attributes: {
    name: { type: 'text', operators: TEXT_OPERATORS },
    experiment_id: { type: 'text', operators: TEXT_OPERATORS },
    creation_time: { type: 'number', operators: NUMBER_OPERATORS },
    last_update_time: { type: 'number', operators: NUMBER_OPERATORS },
  },
  orderableEntities: [],
};

function where(comparison: Comparison, kind: DatabaseKind): RawBuilder<boolean> {
  const { entity, key, operator } = comparison;
  if (entity === 'attribute') {
    if (key === 'experiment_id') return condition(sql`CAST(e.experiment_id AS TEXT)`, comparison, kind);
    const column = sql.ref(`e.${key}`);
    return key === 'name' ? condition(column, comparison, kind) : integerCondition(column, comparison, kind);
  }
  const exists = sql<boolean>`EXISTS (SELECT 1 FROM experiment_tags x WHERE x.experiment_id = e.experiment_id AND x.key = ${key}`;
  if (operator === 'IS NOT NULL') return sql`${exists})`;
  if (operator === 'IS NULL') return sql`NOT ${exists})`;
  return sql`${exists} AND ${condition(sql.ref('x.value'), comparison, kind)})`;
}

/** By last change and id, when nothing else is asked. */
function sortKeys(orderBy: readonly string[]): SortKey[] {
  const orders = parseOrderBy(orderBy, GRAMMAR);
  const keys = orders.map(({ key, ascending }) => ({ expression: sql.ref(`e.${key}`), ascending }));
  if (keys.length === 0) keys.push({ expression: sql.ref('e.last_update_time'), ascending: false });
  if (!orders.some(({ key }) => key === 'experiment_id'))
    keys.push({ expression: sql.ref('e.experiment_id'), ascending: false });
  return keys;
}

export function experimentSearchRoute({ database }: TrackingContext): RestRoute {
  return jsonRoute({
    method: 'POST',
    path: '/api/2.0/mlflow/experiments/search',
    operationId: 'mlflowSearchExperiments',
    summary: 'Search experiments by filter and order, page by page',
    request: z.object({
      max_results: int64.nullish(),
      page_token: text,
      filter: text,
      order_by: z.array(z.string()).default([]),
      view_type: viewType.nullish(),
    }),
    handle: async ({ max_results, page_token, filter, order_by, view_type }) => {
      const { kind } = database;
      const limit = max_results ?? 1000;
      if (limit < 1 || limit > MAX_RESULTS)
        throw invalidParameter(
          `Invalid value ${shown(limit)} for parameter 'max_results' supplied: It must be at most ${MAX_RESULTS} and at least 1`,
        );
      const keys = sortKeys(order_by);
      const fingerprint = queryFingerprint([filter ?? '', order_by, view_type ?? '']);
      const from = decodePageToken(page_token, fingerprint, keys.length);
      const conditions = [
        sql<boolean>`e.lifecycle_stage IN (${sql.join(stagesOf(view_type))})`,
        ...parseFilter(filter, GRAMMAR).map((comparison) => where(comparison, kind)),
      ];
      return database.read(async (db) => {
        const { rows, next } = await readPage<ExperimentRow>(db, {
          columns: sql`e.*`,
          table: sql`experiments e`,
          ...{ conditions, keys, from, limit, fingerprint },
        });
        const experiments = await withTags(db, kind, rows);
        return rows.length === 0 ? {} : { experiments, ...next };
      });
    },
  });
}
