import { keyBefore, keyPage } from '../../registry/models/pages.ts';
import { PAGING_QUERY, readLimit } from '../paging.ts';
import type { AdminRoute } from '../route.ts';

const EVALUATION = {
  type: 'object',
  required: ['id', 'model', 'version', 'model_digest', 'dataset_digest', 'result', 'created_at'],
  properties: {
    id: { type: 'string' },
    model: { type: 'string', description: 'Empty: not registered' },
    version: { type: 'string' },
    model_digest: { type: 'string' },
    dataset_digest: { type: 'string' },
    dataset_name: { type: 'string' },
    pipeline_run: { type: 'string' },
    step: { type: 'string' },
    tracking_run: { type: 'string' },
    spec: { type: 'object', description: 'How the model was asked' },
    result: { type: 'object', description: 'task, samples, metrics, slices, confusion, attribution' },
    created_at: { type: 'integer' },
  },
};

/** What evaluations of models found out. */
export const evaluationRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/evaluations',
    role: 'operator',
    operationId: 'listEvaluations',
    summary: 'Evaluations, newest first',
    query: {
      ...PAGING_QUERY,
      model: { type: 'string' },
      version: { type: 'string' },
      dataset: { type: 'string', description: 'Digest of the dataset' },
    },
    response: {
      type: 'object',
      required: ['evaluations'],
      properties: { evaluations: { type: 'array', items: EVALUATION }, next_page_token: { type: 'string' } },
    },
    errors: ['unavailable'],
    handle: async ({ services, query }) => {
      const limit = readLimit(query);
      const found = await services.pipelines.evaluations({
        model: query.get('model') ?? undefined,
        version: query.get('version') ?? undefined,
        dataset: query.get('dataset') ?? undefined,
        before: keyBefore(query.get('page_token') ?? ''),
        limit: limit + 1,
      });
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      return { body: { evaluations: rows.map(({ key: _, ...evaluation }) => evaluation), ...next } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/evaluations-compare/{name}',
    role: 'operator',
    operationId: 'compareEvaluations',
    summary: 'Versions of a model side by side, by their evaluations on the same dataset, slices included',
    query: {
      versions: { type: 'string', description: 'Comma-separated; absent: all that were evaluated' },
      dataset: { type: 'string', description: 'Digest; absent: the one that most of the versions share' },
    },
    response: {
      type: 'object',
      required: ['model', 'dataset', 'versions', 'missing', 'metrics'],
      properties: {
        model: { type: 'string' },
        dataset: { type: ['object', 'null'] },
        versions: { type: 'array', items: { type: 'object' } },
        missing: { type: 'array', items: { type: 'string' } },
        metrics: {
          type: 'array',
          items: { type: 'object', description: 'metric, slice, better, values by version, best' },
        },
      },
    },
    errors: ['unavailable'],
    handle: async ({ services, params, query }) => {
      const versions = (query.get('versions') ?? '').split(',').map((text) => text.trim());
      const wanted = versions.filter((version) => version !== '');
      return { body: await services.pipelines.compare(params.name, wanted, query.get('dataset') ?? undefined) };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/evaluations/{evaluation}',
    role: 'operator',
    operationId: 'getEvaluation',
    summary: 'One evaluation',
    response: EVALUATION,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => {
      const { key: _, ...evaluation } = await services.pipelines.evaluation(params.evaluation);
      return { body: evaluation };
    },
  },
];
