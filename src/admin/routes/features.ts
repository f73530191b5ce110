import { readTime } from '../../features/documents/values.ts';
import { readBody, readNames } from '../../features/feast/online-features.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { plainNumber } from '../../shared/plain-number.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRoute, Schema } from '../route.ts';
import { textOf } from './pipelines.ts';

const COLUMNS: Schema = { type: 'object', additionalProperties: { type: 'array' }, description: 'Columns by name' };
const TENANT: Schema = { type: 'string', default: 'default', description: 'Whose values' };
const PUSHED: Schema = {
  type: 'object',
  required: ['rows', 'kept'],
  properties: {
    rows: { type: 'integer' },
    kept: { type: 'integer', description: 'Those that were not older than what was there' },
  },
};
const MATERIALIZED: Schema = {
  type: 'object',
  required: ['views'],
  properties: {
    views: {
      type: 'array',
      items: {
        type: 'object',
        required: ['view', 'from', 'until', 'rows', 'kept', 'rejected', 'problems'],
        properties: {
          view: { type: 'string' },
          from: { type: 'string' },
          until: { type: 'string' },
          rows: { type: 'integer' },
          kept: { type: 'integer' },
          rejected: { type: 'integer' },
          problems: { type: 'array', items: { type: 'string' }, description: 'Of the first rejected rows' },
        },
      },
    },
  },
};
const ONLINE_BODY: Schema = {
  type: 'object',
  required: ['entities'],
  properties: {
    features: { type: 'array', items: { type: 'string' }, description: '"view:feature"' },
    feature_service: { type: 'string' },
    entities: COLUMNS,
    full_feature_names: { type: 'boolean', default: false },
  },
};
const ONLINE: Schema = {
  type: 'object',
  required: ['metadata', 'results'],
  properties: {
    metadata: {
      type: 'object',
      required: ['feature_names'],
      properties: { feature_names: { type: 'array', items: { type: 'string' } } },
    },
    results: {
      type: 'array',
      items: {
        type: 'object',
        required: ['values', 'statuses', 'event_timestamps'],
        properties: {
          values: { type: 'array' },
          statuses: {
            type: 'array',
            items: { type: 'string', enum: ['PRESENT', 'NULL_VALUE', 'NOT_FOUND', 'OUTSIDE_MAX_AGE'] },
          },
          event_timestamps: { type: 'array', items: { type: 'string' } },
        },
      },
    },
  },
};

const TRANSFORM: Schema = {
  type: 'object',
  required: ['name', 'version', 'digest', 'columns', 'state', 'actor', 'created_at'],
  properties: {
    name: { type: 'string' },
    version: { type: 'integer' },
    digest: { type: 'string', description: 'Of the state: what lineage knows it by' },
    columns: { type: 'array', items: { type: 'string' } },
    state: { type: 'array', items: { type: 'object' } },
    actor: { type: 'string' },
    created_at: { type: 'integer' },
  },
};
const HISTORICAL_BODY: Readonly<Record<string, Schema>> = {
  features: { type: 'array', items: { type: 'string' }, description: '"view:feature"' },
  feature_service: { type: 'string' },
  entities: { ...COLUMNS, description: 'Keys, and event_timestamp: as of when' },
  tenant: TENANT,
};

/** What historical rows are wanted of. Throws invalid_argument. */
function historicalOf(wish: Record<string, unknown>) {
  const service = textOf(wish, 'feature_service', 100);
  const selection = service === '' ? readNames(wish.features ?? [], 'features') : service;
  return { tenant: tenantOf(wish.tenant), selection, entities: wish.entities };
}

function tenantOf(value: unknown): string {
  const tenant = value ?? 'default';
  if (typeof tenant === 'string' && tenant !== '' && tenant.length <= 128) return tenant;
  throw invalidArgument('tenant must be a text of 1 to 128 characters');
}

/** Values of the feature store: written, read, and made into training rows. */
export const featureRoutes: readonly AdminRoute[] = [
  {
    method: 'POST',
    path: '/api/v1/features/online',
    role: 'operator',
    operationId: 'getOnlineFeatures',
    summary: "The newest values of entities, in the form of Feast's POST /get-online-features",
    query: { tenant: TENANT },
    body: ONLINE_BODY,
    bodyRequired: true,
    response: ONLINE,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, bytes, query }) => ({
      body: await services.features.online(tenantOf(query.get('tenant')), bytes),
    }),
  },
  {
    method: 'POST',
    path: '/api/v1/features/push',
    role: 'operator',
    operationId: 'pushFeatures',
    summary: 'Rows for the feature views that have a push source, as columns',
    body: {
      type: 'object',
      required: ['source', 'df'],
      additionalProperties: false,
      properties: {
        source: { type: 'string', description: "The view's push source: its own name, if it says nothing else" },
        df: COLUMNS,
        to: { type: 'string', enum: ['online', 'offline', 'online_and_offline'], default: 'online' },
        tenant: TENANT,
      },
    },
    bodyRequired: true,
    response: PUSHED,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, bytes }) => {
      // Parsed once more, so that integers keep all their digits.
      const { source, df, to, tenant } = asObject(readBody(bytes), 'the body', ['source', 'df', 'to', 'tenant']);
      const name = textOf({ source }, 'source');
      return { body: await services.features.push(tenantOf(tenant), name, df, to ?? 'online') };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/features/materialize',
    role: 'operator',
    operationId: 'materializeFeatures',
    summary: 'Bring the rows of views from their files, and those pushed for training, into the online store',
    body: {
      type: 'object',
      additionalProperties: false,
      properties: {
        views: { type: 'array', items: { type: 'string' }, description: 'Absent: all' },
        from: { type: ['string', 'integer'], description: 'Absent: since it was done the last time' },
        until: { type: ['string', 'integer'], description: 'Absent: now' },
        tenant: TENANT,
      },
    },
    response: MATERIALIZED,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, body }) => {
      const wish = asObject(body ?? {}, 'the body', ['views', 'from', 'until', 'tenant']);
      const { views, from, until } = wish;
      if (views !== undefined && (!Array.isArray(views) || views.some((name) => typeof name !== 'string')))
        throw invalidArgument('views: must be a list of texts');
      return {
        body: {
          views: await services.features.materialize({
            views: views as string[] | undefined,
            tenant: tenantOf(wish.tenant),
            ...(from === undefined ? {} : { from: readTime(from, 'from') }),
            until: until === undefined ? Date.now() : readTime(until, 'until'),
          }),
        },
      };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/features/historical',
    role: 'operator',
    operationId: 'getHistoricalFeatures',
    summary: 'What was known of entities at given times: rows to train on, without the future in them',
    body: {
      type: 'object',
      required: ['entities'],
      additionalProperties: false,
      properties: {
        ...HISTORICAL_BODY,
        transform: { type: 'string', description: 'name@version of a fitted transform: its columns come, too' },
        full_feature_names: { type: 'boolean', default: false },
        dataset: { type: 'string', description: 'Keep the rows as the next version of this dataset' },
      },
    },
    bodyRequired: true,
    response: {
      type: 'object',
      required: ['rows', 'columns'],
      properties: {
        rows: { type: 'integer' },
        columns: COLUMNS,
        dataset: {
          type: 'object',
          required: ['name', 'version', 'digest'],
          properties: { name: { type: 'string' }, version: { type: 'integer' }, digest: { type: 'string' } },
        },
        transformed: {
          type: 'object',
          required: ['name', 'digest', 'columns', 'rows'],
          properties: {
            name: { type: 'string' },
            digest: { type: 'string' },
            columns: { type: 'array', items: { type: 'string' } },
            rows: { type: 'array', items: { type: 'array', items: { type: 'number' } } },
          },
        },
      },
    },
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, bytes, actor }) => {
      const wish = asObject(readBody(bytes), 'the body', [
        ...Object.keys(HISTORICAL_BODY),
        'transform',
        'full_feature_names',
        'dataset',
      ]);
      const transform = textOf(wish, 'transform', 100);
      const dataset = textOf(wish, 'dataset', 128);
      const rows = await services.features.historical({
        ...historicalOf(wish),
        fullNames: wish.full_feature_names === true,
        ...(transform === '' ? {} : { transform }),
        ...(dataset === '' ? {} : { dataset, actor }),
      });
      return { body: JSON.stringify(rows, plainNumber) };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/features/transforms',
    role: 'operator',
    operationId: 'listFeatureTransforms',
    summary: 'Every version of every fitted transform, by name',
    query: PAGING_QUERY,
    response: {
      type: 'object',
      required: ['transforms'],
      properties: { transforms: { type: 'array', items: TRANSFORM }, next_page_token: { type: 'string' } },
    },
    errors: ['unavailable'],
    handle: async ({ services, query }) => {
      const all = await services.features.transforms();
      const key = ({ name, version }: { name: string; version: number }) =>
        `${name}@${String(version).padStart(9, '0')}`;
      const { rows, next } = page(
        all.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)),
        key,
        query,
      );
      return { body: { transforms: rows, ...(next === undefined ? {} : { next_page_token: next }) } };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/features/transforms',
    role: 'operator',
    operationId: 'fitFeatureTransform',
    summary:
      'Fit a transform on what was known of entities at given times, and keep it as the next version of its name',
    body: {
      type: 'object',
      required: ['name', 'steps', 'entities'],
      additionalProperties: false,
      properties: {
        ...HISTORICAL_BODY,
        name: { type: 'string' },
        steps: { type: 'array', items: { type: 'object' }, description: 'See docs/features.md' },
      },
    },
    bodyRequired: true,
    response: TRANSFORM,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, bytes, actor }) => {
      const wish = asObject(readBody(bytes), 'the body', [...Object.keys(HISTORICAL_BODY), 'name', 'steps']);
      const name = textOf(wish, 'name', 100);
      return { body: await services.features.fit({ ...historicalOf(wish), name, steps: wish.steps, actor }) };
    },
  },
];
