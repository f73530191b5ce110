import { type RawBuilder, sql } from 'kysely';
import { z } from 'zod';
import type { DatabaseKind } from '../database/database.ts';
import { inKeys, inTextPairs, inTexts } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import { flag, int64, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { parseFilter, parseOrderBy } from '../search/filter.ts';
import { type Comparison, NUMBER_OPERATORS, type SearchGrammar, TEXT_OPERATORS } from '../search/grammar.ts';
import { readPage } from '../search/keyset-page.ts';
import { decodePageToken, queryFingerprint } from '../search/page-token.ts';
import { condition, integerCondition, type SortKey } from '../search/sql.ts';
import { type LoggedModelRow, loggedModelViews } from './logged-model-store.ts';
import type { TrackingContext } from './tracking.ts';

const MAX_RESULTS = 1000;
const MAX_DATASETS = 100;
const textAttribute = { type: 'text', operators: TEXT_OPERATORS } as const;
const numberAttribute = { type: 'number', operators: NUMBER_OPERATORS } as const;

const GRAMMAR: SearchGrammar = {
  entities: { metrics: numberAttribute, params: textAttribute, tags: textAttribute },
  entityAliases: { metric: 'metrics', param: 'params', tag: 'tags' },
  attributes: {
    name: textAttribute,
    model_id: textAttribute,
    model_type: textAttribute,
    status: textAttribute,
    source_run_id: textAttribute,
    artifact_uri: textAttribute,
    creation_time: numberAttribute,
    last_update_time: numberAttribute,
  },
  attributeAliases: {
    creation_timestamp: 'creation_time',
    creation_timestamp_ms: 'creation_time',
    last_updated_timestamp: 'last_update_time',
    last_updated_timestamp_ms: 'last_update_time',
    artifact_location: 'artifact_uri',
  },
  orderableEntities: ['metrics'],
};

const datasetSchema = z.object({ dataset_name: required, dataset_digest: text });
const requestSchema = z.object({
  experiment_ids: z.array(required).default([]),
  filter: text,
  datasets: z.array(datasetSchema).default([]),
  max_results: int64.nullish(),
  order_by: z
    .array(z.object({ field_name: required, ascending: flag.default(true), dataset_name: text, dataset_digest: text }))
    .default([]),
  page_token: text,
});
type Request = z.output<typeof requestSchema>;
type Dataset = z.output<typeof datasetSchema>;

/** Whether a metric is of one of these, by lists of two parameters however many there are; none: of any. */
function onDatasets(datasets: readonly Dataset[], kind: DatabaseKind): RawBuilder<boolean> {
  if (datasets.length === 0) return sql`1 = 1`;
  const names = datasets.filter(({ dataset_digest }) => !dataset_digest).map(({ dataset_name }) => dataset_name);
  const whole = datasets.flatMap(({ dataset_name, dataset_digest }): [string, string][] =>
    dataset_digest ? [[dataset_name, dataset_digest]] : [],
  );
  const named = inTexts(kind, 'x.dataset_name', names);
  return sql`(${named} OR ${inTextPairs(kind, ['x.dataset_name', 'x.dataset_digest'], whole)})`;
}

/** A READY model is found by MLflow's short name of the state too. */
function statusNames(value: Comparison['value']): Comparison['value'] {
  const long = (name: string): string => (name.startsWith('LOGGED_MODEL_') ? name : `LOGGED_MODEL_${name}`);
  return typeof value === 'string' ? long(value) : Array.isArray(value) ? value.map(long) : value;
}

function where(comparison: Comparison, datasets: readonly Dataset[], kind: DatabaseKind): RawBuilder<boolean> {
  const { entity, key } = comparison;
  if (entity === 'attribute') {
    const column = sql.ref(`m.${key}`);
    if (key.endsWith('_time')) return integerCondition(column, comparison, kind);
    if (key !== 'status' || comparison.operator.includes('LIKE')) return condition(column, comparison, kind);
    return condition(column, { ...comparison, value: statusNames(comparison.value) }, kind);
  }
  const holds = condition(sql.ref('x.value'), comparison, kind);
  if (entity === 'metrics') {
    return sql`EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_key = m.model_key AND x.key = ${key}
      AND x.is_nan = 0 AND ${holds} AND ${onDatasets(datasets, kind)})`;
  }
  return sql`EXISTS (SELECT 1 FROM ${sql.table(`logged_model_${entity}`)} x
    WHERE x.model_key = m.model_key AND x.key = ${key} AND ${holds})`;
}

function sortKeys(orders: Request['order_by'], kind: DatabaseKind): SortKey[] {
  const parsed = parseOrderBy(
    orders.map(({ field_name }) => field_name),
    GRAMMAR,
  );
  const keys: SortKey[] = parsed.flatMap(({ entity, key }, i) => {
    const { ascending, dataset_name, dataset_digest } = orders[i];
    if (entity === 'attribute') return [{ expression: sql.ref(`m.${key}`), ascending }];
    const datasets = dataset_name ? [{ dataset_name, dataset_digest }] : [];
    const latest = sql`(SELECT x.value FROM logged_model_metrics x WHERE x.model_key = m.model_key AND x.key = ${key}
      AND x.is_nan = 0 AND ${onDatasets(datasets, kind)} ORDER BY x.timestamp DESC, x.step DESC, x.run_id LIMIT 1)`;
    return [
      { expression: sql`CASE WHEN ${latest} IS NULL THEN 1 ELSE 0 END`, ascending: true },
      { expression: sql`COALESCE(${latest}, 0)`, ascending },
    ];
  });
  const has = (name: string): boolean => parsed.some(({ entity, key }) => entity === 'attribute' && key === name);
  if (!has('creation_time')) keys.push({ expression: sql.ref('m.creation_time'), ascending: false });
  if (!has('model_id')) keys.push({ expression: sql.ref('m.model_id'), ascending: true });
  return keys;
}

async function search({ database }: TrackingContext, request: Request): Promise<object> {
  const { experiment_ids, filter, datasets, order_by, page_token } = request;
  const { kind } = database;
  const limit = request.max_results ?? 100;
  if (limit < 1 || limit > MAX_RESULTS)
    throw invalidParameter(
      `Invalid value ${shown(limit)} for parameter 'max_results' supplied: give 1 to ${MAX_RESULTS}`,
    );
  if (datasets.length > MAX_DATASETS)
    throw invalidParameter(`datasets has ${datasets.length} entries; at most ${MAX_DATASETS} are allowed`);
  const comparisons = parseFilter(filter, GRAMMAR);
  const keys = sortKeys(order_by, kind);
  const fingerprint = queryFingerprint([experiment_ids, filter ?? '', datasets, order_by]);
  const from = decodePageToken(page_token, fingerprint, keys.length);
  const experiments = experiment_ids.filter((id) => /^\d{1,15}$/.test(id)).map(Number);
  const conditions = [
    sql<boolean>`m.lifecycle_stage = 'active'`,
    inKeys(kind, 'm.experiment_id', experiments),
    ...comparisons.map((comparison) => where(comparison, datasets, kind)),
  ];
  if (datasets.length > 0 && !comparisons.some(({ entity }) => entity === 'metrics')) {
    conditions.push(
      sql`EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_key = m.model_key AND ${onDatasets(datasets, kind)})`,
    );
  }
  return database.read(async (db) => {
    const { rows, next } = await readPage<LoggedModelRow>(db, {
      columns: sql`m.*`,
      table: sql`logged_models m`,
      ...{ conditions, keys, from, limit, fingerprint },
    });
    const models = await loggedModelViews(db, kind, rows);
    return rows.length === 0 ? {} : { models, ...next };
  });
}

export function loggedModelSearchRoute(context: TrackingContext): RestRoute {
  return jsonRoute({
    method: 'POST',
    path: '/api/2.0/mlflow/logged-models/search',
    operationId: 'mlflowSearchLoggedModels',
    summary: 'Search logged models by filter, datasets and order',
    request: requestSchema,
    handle: (request) => search(context, request),
  });
}
