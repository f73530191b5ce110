import { FEATURE_KINDS, type FeatureKind } from '../../features/documents/schema.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';
import { flag } from './pipelines.ts';

const DOCUMENT: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { type: 'string', enum: FEATURE_KINDS },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    spec: { type: 'object', description: 'See config/features.schema.json' },
  },
};
const ROW: Schema = {
  type: 'object',
  required: ['name', 'origin', 'document'],
  properties: { name: { type: 'string' }, origin: { type: 'string', enum: ['file', 'api'] }, document: DOCUMENT },
};
const CHANGED: Schema = {
  type: 'object',
  required: ['changed'],
  properties: { changed: { type: 'array', items: { type: 'string' } } },
};
const DRY_RUN = { dry_run: { type: 'string', enum: ['true', 'false'], description: 'Only check' } };

function headOf(value: unknown, what: string): { kind: FeatureKind; name: string } {
  const { kind, metadata } = asObject(value, what);
  if (!FEATURE_KINDS.includes(kind as FeatureKind))
    throw invalidArgument(`${what}: kind must be one of ${FEATURE_KINDS.join(', ')}`);
  const { name } = asObject(metadata ?? null, `${what}: metadata`);
  if (typeof name !== 'string' || name === '') throw invalidArgument(`${what}: metadata.name is missing`);
  return { kind: kind as FeatureKind, name };
}

async function apply({ services, body, query }: AdminRequest): Promise<{ body: object }> {
  const { documents } = asObject(body, 'the body', ['documents']);
  if (!Array.isArray(documents) || documents.length === 0)
    throw invalidArgument('documents: must be a list of entities, feature views and feature services');
  const changes = documents.map((document: unknown, i) => ({ ...headOf(document, `documents[${i}]`), body: document }));
  await services.features.change(changes, flag(query, 'dry_run'));
  return { body: { changed: changes.map(({ kind, name }) => `${kind} ${name}`) } };
}

/** List, look at and remove the documents of one kind. */
function documentsOf(kind: FeatureKind, path: string, key: string, noun: string): AdminRoute[] {
  const words = kind.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return [
    {
      method: 'GET',
      path: `/api/v1/features/${path}`,
      role: 'operator',
      operationId: `list${noun}s`.replace('ys', 'ies'),
      summary: `Every ${words}, by name`,
      query: { ...PAGING_QUERY, name: { type: 'string', description: 'Only names that start so' } },
      response: {
        type: 'object',
        required: [key],
        properties: { [key]: { type: 'array', items: ROW }, next_page_token: { type: 'string' } },
      },
      handle: ({ services, query }) => {
        const prefix = query.get('name') ?? '';
        const all = services.features.documents(kind).filter(({ name }) => name.startsWith(prefix));
        const { rows, next } = page(all, ({ name }) => name, query);
        return { body: { [key]: rows, ...(next === undefined ? {} : { next_page_token: next }) } };
      },
    },
    {
      method: 'GET',
      path: `/api/v1/features/${path}/{name}`,
      role: 'operator',
      operationId: `get${noun}`,
      summary: `One ${words}`,
      response: ROW,
      errors: ['not_found'],
      handle: ({ services, params }) => {
        const row = services.features.documents(kind).find(({ name }) => name === params.name);
        if (row === undefined) throw new SwitchyardError('not_found', `there is no ${kind} ${params.name}`);
        return { body: row };
      },
    },
    {
      method: 'DELETE',
      path: `/api/v1/features/${path}/{name}`,
      role: 'operator',
      operationId: `delete${noun}`,
      summary: `Remove a ${words} that was made over the API; its values stay until they expire`,
      query: DRY_RUN,
      response: CHANGED,
      errors: ['not_found', 'failed_precondition', 'unavailable'],
      handle: async ({ services, params, query }) => {
        await services.features.change([{ kind, name: params.name, body: undefined }], flag(query, 'dry_run'));
        return { body: { changed: [`${kind} ${params.name}`] } };
      },
    },
  ];
}

/** What the feature store is told of entities, feature views and feature services. */
export const featureDocumentRoutes: readonly AdminRoute[] = [
  ...documentsOf('FeatureView', 'views', 'views', 'FeatureView'),
  ...documentsOf('Entity', 'entities', 'entities', 'FeatureEntity'),
  ...documentsOf('OnDemandFeatureView', 'on-demand-views', 'on_demand_views', 'OnDemandFeatureView'),
  ...documentsOf('FeatureService', 'services', 'services', 'FeatureService'),
  {
    method: 'POST',
    path: '/api/v1/features',
    role: 'operator',
    operationId: 'applyFeatures',
    summary: 'Make or replace entities, feature views and feature services: all of them or none',
    query: DRY_RUN,
    body: {
      type: 'object',
      required: ['documents'],
      additionalProperties: false,
      properties: { documents: { type: 'array', minItems: 1, items: DOCUMENT } },
    },
    bodyRequired: true,
    response: CHANGED,
    errors: ['failed_precondition', 'unavailable'],
    handle: apply,
  },
  {
    method: 'POST',
    path: '/api/v1/features/reload',
    role: 'operator',
    operationId: 'reloadFeatures',
    summary: 'Read the feature files again; with a mistake in them everything stays as it is',
    response: { type: 'object', properties: { reloaded: { const: true } } },
    handle: ({ services }) => {
      const problems = services.features.reload();
      if (problems.length > 0) throw invalidArgument(problems.join('\n'));
      return { body: { reloaded: true } };
    },
  },
];
