import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { DOCUMENT_KINDS, type DocumentKind } from '../../training/pipelines/load.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';

const DOCUMENT: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { type: 'string', enum: DOCUMENT_KINDS },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    spec: { type: 'object', description: 'See config/pipeline.schema.json' },
  },
};
const ROW: Schema = {
  type: 'object',
  required: ['name', 'origin', 'document'],
  properties: { name: { type: 'string' }, origin: { type: 'string', enum: ['file', 'api'] }, document: DOCUMENT },
};
const DRY_RUN = { dry_run: { type: 'string', enum: ['true', 'false'], description: 'Only check' } };
const CHANGED: Schema = {
  type: 'object',
  required: ['changed'],
  properties: { changed: { type: 'array', items: { type: 'string' } } },
};

export function flag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name) ?? 'false';
  if (value === 'true' || value === 'false') return value === 'true';
  throw invalidArgument(`${name}: ${JSON.stringify(value.slice(0, 100))} is not allowed; give true or false`);
}

/** A text field of a body; '' when it is not there. Throws invalid_argument. */
export function textOf(body: Record<string, unknown>, name: string, most = 2000): string {
  const value = body[name] ?? '';
  if (typeof value === 'string' && value.length <= most) return value;
  throw invalidArgument(`${name} must be a text of at most ${most} characters`);
}

function list(kind: 'Pipeline' | 'PipelineEnvironment', key: string) {
  return ({ services, query }: AdminRequest): { body: object } => {
    const prefix = query.get('name') ?? '';
    const all = services.pipelines.documents(kind).filter(({ name }) => name.startsWith(prefix));
    const { rows, next } = page(all, ({ name }) => name, query);
    return { body: { [key]: rows, ...(next === undefined ? {} : { next_page_token: next }) } };
  };
}

function listOf(key: string): Schema {
  return {
    type: 'object',
    required: [key],
    properties: { [key]: { type: 'array', items: ROW }, next_page_token: { type: 'string' } },
  };
}

function headOf(value: unknown, what: string): { kind: DocumentKind; name: string } {
  const { kind, metadata } = asObject(value, what);
  if (!DOCUMENT_KINDS.includes(kind as DocumentKind))
    throw invalidArgument(`${what}: kind must be one of ${DOCUMENT_KINDS.join(', ')}`);
  const { name } = asObject(metadata ?? null, `${what}: metadata`);
  if (typeof name !== 'string' || name === '') throw invalidArgument(`${what}: metadata.name is missing`);
  return { kind: kind as DocumentKind, name };
}

async function apply({ services, body, query }: AdminRequest): Promise<object> {
  const { documents } = asObject(body, 'the body', ['documents']);
  if (!Array.isArray(documents) || documents.length === 0)
    throw invalidArgument('documents: must be a list of pipelines, environments and triggers');
  const changes = documents.map((document: unknown, i) => ({ ...headOf(document, `documents[${i}]`), body: document }));
  await services.pipelines.change(changes, flag(query, 'dry_run'));
  return { changed: changes.map(({ name }) => name) };
}

function remove(kind: DocumentKind, path: string, operationId: string, summary: string): AdminRoute {
  return {
    method: 'DELETE',
    path,
    role: 'operator',
    operationId,
    summary,
    query: DRY_RUN,
    response: CHANGED,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params, query }) => {
      await services.pipelines.change([{ kind, name: params.name, body: undefined }], flag(query, 'dry_run'));
      return { body: { changed: [params.name] } };
    },
  };
}

const NAME_QUERY = { ...PAGING_QUERY, name: { type: 'string', description: 'Only names that start so' } };

/** Documents of pipelines. */
export const pipelineRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/pipelines',
    role: 'operator',
    operationId: 'listPipelines',
    summary: 'Every pipeline, by name',
    query: NAME_QUERY,
    response: listOf('pipelines'),
    handle: list('Pipeline', 'pipelines'),
  },
  {
    method: 'POST',
    path: '/api/v1/pipelines',
    role: 'operator',
    operationId: 'applyPipelines',
    summary: 'Make or replace pipelines, environments and triggers: all of them, or none and the problems are named',
    query: DRY_RUN,
    body: {
      type: 'object',
      required: ['documents'],
      additionalProperties: false,
      properties: { documents: { type: 'array', items: DOCUMENT } },
    },
    bodyRequired: true,
    response: CHANGED,
    errors: ['failed_precondition', 'unavailable'],
    handle: async (request) => ({ body: await apply(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/pipelines-reload',
    role: 'operator',
    operationId: 'reloadPipelines',
    summary: 'Read the pipeline files again: all of them are taken, or none and the problems are listed with 400',
    response: { type: 'object', properties: { problems: { type: 'array', items: { type: 'string' } } } },
    errors: ['failed_precondition'],
    handle: ({ services }) => {
      const problems = services.pipelines.reload();
      if (problems.length === 0) return { body: { problems } };
      return { status: 400, body: { error: problems.join('\n'), code: 'failed_precondition', problems } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/pipelines/{name}',
    role: 'operator',
    operationId: 'getPipeline',
    summary: 'One pipeline as it was given, with the code of its steps',
    response: ROW,
    errors: ['not_found'],
    handle: ({ services, params }) => {
      const found = services.pipelines.documents('Pipeline').find(({ name }) => name === params.name);
      if (found !== undefined) return { body: found };
      throw new SwitchyardError('not_found', `there is no pipeline ${JSON.stringify(params.name.slice(0, 140))}`);
    },
  },
  remove(
    'Pipeline',
    '/api/v1/pipelines/{name}',
    'deletePipeline',
    'Remove a pipeline that was made over the API; its runs stay',
  ),
  {
    method: 'GET',
    path: '/api/v1/pipeline-environments',
    role: 'operator',
    operationId: 'listPipelineEnvironments',
    summary: 'Every environment that pipelines run in, by name',
    query: NAME_QUERY,
    response: listOf('environments'),
    handle: list('PipelineEnvironment', 'environments'),
  },
  remove(
    'PipelineEnvironment',
    '/api/v1/pipeline-environments/{name}',
    'deletePipelineEnvironment',
    'Remove an environment that was made over the API',
  ),
  remove('Trigger', '/api/v1/triggers/{name}', 'deleteTrigger', 'Remove a trigger that was made over the API'),
  {
    method: 'POST',
    path: '/api/v1/pipeline-promotions',
    role: 'operator',
    operationId: 'promoteBetweenEnvironments',
    summary: "Make an environment's champion that of another one; alias history and evidence keep who, when and why",
    body: {
      type: 'object',
      required: ['model', 'from', 'to'],
      additionalProperties: false,
      properties: {
        model: { type: 'string' },
        from: { type: 'string', description: 'Environment' },
        to: { type: 'string', description: 'Environment' },
        reason: { type: 'string', maxLength: 2000 },
      },
    },
    bodyRequired: true,
    response: { type: 'object', properties: { version: { type: 'string' }, alias: { type: 'string' } } },
    errors: ['not_found', 'failed_precondition', 'conflict', 'unavailable'],
    handle: async ({ services, body, actor }) => {
      const given = asObject(body, 'the body', ['model', 'from', 'to', 'reason']);
      const [model, from, to, reason] = ['model', 'from', 'to', 'reason'].map((name) => textOf(given, name));
      for (const [name, value] of Object.entries({ model, from, to }))
        if (value === '') throw invalidArgument(`${name} is missing`);
      return { body: await services.pipelines.promote({ model, from, to, reason, actor }) };
    },
  },
];
