import type { RolloutEvent } from '../../experiments/rollout/state.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';

const WEIGHTS = { type: 'object', additionalProperties: { type: 'number' } };
const ROW = {
  type: 'object',
  required: ['name', 'strategy', 'status', 'weights'],
  properties: {
    name: { type: 'string' },
    origin: { type: 'string', enum: ['file', 'api'] },
    strategy: { type: 'string', enum: ['weighted', 'canary', 'experiment', 'bandit'] },
    status: { type: 'string' },
    exit_status: { type: 'integer', description: '0 well, 1 rolled back or invalid, 2 needs a person, 3 under way' },
    weights: { ...WEIGHTS, description: 'Share of the traffic by variant' },
    state_version: { type: 'integer', description: 'Decision records name it' },
  },
};
const VIEW = {
  ...ROW,
  properties: {
    ...ROW.properties,
    analysed: { type: 'boolean' },
    mirror: { type: 'number' },
    variants: { type: 'array', items: { type: 'object' } },
    rollout: { type: 'object', description: 'Of canaries' },
    experiment: { type: 'object', description: 'Of experiments: results as of now' },
    bandit: { type: 'object', description: 'Of bandits: what is learnt as of now' },
    spec: { type: 'object', description: 'The route as it was given' },
  },
};
const DOCUMENT: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { type: 'string', enum: ['Route', 'AnalysisTemplate'] },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    spec: { type: 'object', description: 'See config/route.schema.json' },
  },
};
const DRY_RUN = {
  dry_run: { type: 'string', enum: ['true', 'false'], description: 'Only check' },
};
const CHANGED = {
  type: 'object',
  required: ['changed'],
  properties: { changed: { type: 'array', items: { type: 'string' } } },
};
const STATUS = {
  type: 'object',
  required: ['generation', 'problems', 'warnings', 'unmatched_feedback'],
  properties: {
    generation: { type: 'integer' },
    problems: { type: 'array', items: { type: 'string' }, description: 'Of the files, when last read; empty: taken' },
    warnings: {
      type: 'array',
      items: { type: 'string' },
      description:
        'Models, versions and aliases that routes name and that are not there now, with file, line and column',
    },
    unmatched_feedback: { type: 'object', description: 'Feedback of no known decision, counted by result' },
    gateway: {
      type: 'object',
      description:
        'Among several gateways: which one this is, whether it decides, and whether it has heard of none that does for too long (stale)',
    },
  },
};
const TEXT = { type: 'string' };
const MISMATCH = {
  type: 'object',
  required: ['id', 'variant', 'model', 'version', 'difference'],
  properties: {
    id: { ...TEXT, description: 'Of the request; the event log has both answers, this and <id>.shadow' },
    route: TEXT,
    variant: TEXT,
    model: TEXT,
    version: TEXT,
    outcome: { enum: ['mismatch', 'failed'] },
    latencyMs: { type: 'number' },
    difference: { ...TEXT, description: 'What differs first, or the error of a copy that failed' },
  },
};
const LIST = 'route';

function list({ services, query }: AdminRequest): object {
  const prefix = query.get('name') ?? '';
  const found = services.routes.list().filter(({ name }) => name.startsWith(prefix));
  const { rows, next } = page(found, ({ name }) => name, query);
  return { routes: rows.map(({ row }) => row), ...(next === undefined ? {} : { next_page_token: next }) };
}

type Change = Parameters<AdminRequest['services']['routes']['change']>[0][number];

function readDocument(value: unknown, what: string): Change {
  const { kind, metadata } = asObject(value, what);
  if (kind !== 'Route' && kind !== 'AnalysisTemplate')
    throw invalidArgument(
      `${what}: kind must be Route or AnalysisTemplate, not ${JSON.stringify(kind)?.slice(0, 100)}`,
    );
  const { name } = asObject(metadata ?? null, `${what}: metadata`);
  if (typeof name !== 'string' || name === '') throw invalidArgument(`${what}: metadata.name is missing`);
  return { kind, name, body: JSON.stringify(value, undefined, 2) };
}

async function apply({ services, body, query }: AdminRequest): Promise<object> {
  const { documents } = asObject(body, 'the body', ['documents']);
  if (!Array.isArray(documents) || documents.length === 0)
    throw invalidArgument('documents: must be a list of routes and templates');
  const changes = documents.map((document, i) => readDocument(document, `documents[${i}]`));
  await services.routes.change(changes, isDryRun(query));
  return { changed: changes.map(({ name }) => name) };
}

async function put({ services, params, body, query }: AdminRequest): Promise<object> {
  const change = readDocument(body, 'the body');
  if (change.kind !== 'Route' || change.name !== params[LIST])
    throw invalidArgument(`the body is ${change.kind} ${change.name}; this path takes Route ${params[LIST]}`);
  await services.routes.change([change], isDryRun(query));
  return { changed: [change.name] };
}

function isDryRun(query: URLSearchParams): boolean {
  const value = query.get('dry_run') ?? 'false';
  if (value === 'true' || value === 'false') return value === 'true';
  throw invalidArgument(`dry_run: ${JSON.stringify(value.slice(0, 100))} is not allowed; give true or false`);
}

async function remove({ services, params, query }: AdminRequest): Promise<object> {
  await services.routes.change([{ kind: 'Route', name: params[LIST], body: undefined }], isDryRun(query));
  return { changed: [params[LIST]] };
}

async function removeTemplate({ services, params, query }: AdminRequest): Promise<object> {
  await services.routes.change([{ kind: 'AnalysisTemplate', name: params.template, body: undefined }], isDryRun(query));
  return { changed: [params.template] };
}

function command(
  verb: string,
  summary: string,
  read: (body: Record<string, unknown>) => RolloutEvent,
  fields: Record<string, Schema> = {},
): AdminRoute {
  return {
    method: 'POST',
    path: `/api/v1/routes/{${LIST}}/${verb}`,
    role: 'operator',
    operationId: `${verb}Route`,
    summary,
    body: { type: 'object', additionalProperties: false, properties: fields },
    response: VIEW,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params, body }) => {
      const given = body === undefined ? {} : asObject(body, 'the body', Object.keys(fields));
      return { body: await services.routes.command(params[LIST], read(given)) };
    },
  };
}

function full(body: Record<string, unknown>): RolloutEvent {
  if (body.full !== undefined && typeof body.full !== 'boolean') throw invalidArgument('full must be true or false');
  return { type: 'promote', full: body.full === true };
}

function abort({ reason }: Record<string, unknown>): RolloutEvent {
  if (reason !== undefined && (typeof reason !== 'string' || reason.length > 500))
    throw invalidArgument('reason must be a text of at most 500 characters');
  return { type: 'abort', ...(reason === undefined ? {} : { reason }) };
}

export const routeRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/routes',
    role: 'operator',
    operationId: 'listRoutes',
    summary: 'Every route with its strategy, where it stands and who gets which share, by name',
    query: { ...PAGING_QUERY, name: { type: 'string', description: 'Only names that start so' } },
    response: {
      type: 'object',
      required: ['routes'],
      properties: { routes: { type: 'array', items: ROW }, next_page_token: { type: 'string' } },
    },
    handle: (request) => ({ body: list(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/routes',
    role: 'operator',
    operationId: 'applyRoutes',
    summary: 'Make or replace several routes and templates: all of them, or none and the problems are named',
    query: DRY_RUN,
    body: {
      type: 'object',
      required: ['documents'],
      additionalProperties: false,
      properties: { documents: { type: 'array', items: DOCUMENT } },
    },
    bodyRequired: true,
    response: CHANGED,
    errors: ['failed_precondition'],
    handle: async (request) => ({ body: await apply(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/routes-status',
    role: 'operator',
    operationId: 'getRoutesStatus',
    summary: 'How the last reading of the route files went, and which of several gateways decides',
    response: STATUS,
    handle: ({ services }) => ({ body: services.routes.status() }),
  },
  {
    method: 'POST',
    path: '/api/v1/routes-reload',
    role: 'operator',
    operationId: 'reloadRoutes',
    summary: 'Read the route files again: all of them are taken, or none and the problems are listed with 400',
    response: STATUS,
    errors: ['failed_precondition'],
    handle: async ({ services }) => {
      const problems = await services.routes.reload();
      if (problems.length === 0) return { body: services.routes.status() };
      return { status: 400, body: { error: problems.join('\n'), code: 'failed_precondition', problems } };
    },
  },
  {
    method: 'GET',
    path: `/api/v1/routes/{${LIST}}`,
    role: 'operator',
    operationId: 'getRoute',
    summary: 'One route: variants with their figures, and the rollout, experiment or bandit as of now',
    response: VIEW,
    errors: ['not_found'],
    handle: ({ services, params }) => ({ body: services.routes.get(params[LIST]) }),
  },
  {
    method: 'PUT',
    path: `/api/v1/routes/{${LIST}}`,
    role: 'operator',
    operationId: 'putRoute',
    summary: 'Make or replace one route',
    query: DRY_RUN,
    body: DOCUMENT,
    bodyRequired: true,
    response: CHANGED,
    errors: ['failed_precondition'],
    handle: async (request) => ({ body: await put(request) }),
  },
  {
    method: 'DELETE',
    path: `/api/v1/routes/{${LIST}}`,
    role: 'operator',
    operationId: 'deleteRoute',
    summary: 'Remove a route that was made over the API',
    query: DRY_RUN,
    response: CHANGED,
    errors: ['not_found', 'failed_precondition'],
    handle: async (request) => ({ body: await remove(request) }),
  },
  {
    method: 'DELETE',
    path: '/api/v1/analysis-templates/{template}',
    role: 'operator',
    operationId: 'deleteAnalysisTemplate',
    summary: 'Remove a template that was made over the API',
    query: DRY_RUN,
    response: CHANGED,
    errors: ['not_found', 'failed_precondition'],
    handle: async (request) => ({ body: await removeTemplate(request) }),
  },
  {
    method: 'GET',
    path: `/api/v1/routes/{${LIST}}/mismatches`,
    role: 'operator',
    operationId: 'listShadowMismatches',
    summary: 'The last shadowed answers that differed from the one they copy, and in what',
    response: {
      type: 'object',
      required: ['mismatches'],
      properties: { mismatches: { type: 'array', items: MISMATCH } },
    },
    errors: ['not_found'],
    handle: ({ services, params }) => ({ body: { mismatches: services.routes.mismatches(params[LIST]) } }),
  },
  command('promote', "Go on past a canary's gate or present step", full, {
    full: { type: 'boolean', default: false, description: 'Past all that is left' },
  }),
  command('abort', 'Roll a canary back', abort, { reason: { type: 'string', maxLength: 500 } }),
  command('retry', 'Begin a canary that was rolled back anew', () => ({ type: 'retry' })),
  command('pause', "Stop a canary's steps; a failing verdict still rolls it back", () => ({ type: 'pause' })),
  command('resume', "Let a canary's steps go on", () => ({ type: 'resume' })),
  {
    method: 'POST',
    path: '/api/v1/feedback',
    role: 'operator',
    operationId: 'feedback',
    summary: 'Rewards by decision id, as the inference port takes them, for requests of all tenants',
    body: {
      type: 'object',
      properties: {
        events: {
          type: 'array',
          maxItems: 10_000,
          items: {
            type: 'object',
            required: ['id', 'reward'],
            properties: { id: { type: 'string' }, reward: { type: 'number' }, event: { type: 'string' } },
          },
        },
      },
    },
    bodyRequired: true,
    response: {
      type: 'object',
      required: ['accepted', 'forwarded', 'recorded', 'rejected', 'results'],
      properties: {
        accepted: { type: 'integer' },
        forwarded: { type: 'integer', description: 'Another gateway of the fleet may know their decisions' },
        recorded: { type: 'integer' },
        rejected: { type: 'integer' },
        results: { type: 'array', items: { type: 'object' } },
      },
    },
    // As over the inference port: the event log gets it, too.
    handle: async ({ services, body }) => ({ body: (await services.control.call('feedback', [body, ''])) as object }),
  },
];
