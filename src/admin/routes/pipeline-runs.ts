import { keyBefore, keyPage } from '../../registry/models/pages.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { runView } from '../../training/pipelines/view.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, readLimit } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';
import { textOf } from './pipelines.ts';

const STATUSES = ['running', 'succeeded', 'failed', 'held', 'cancelled'] as const;

const RUN = {
  type: 'object',
  required: ['id', 'pipeline', 'environment', 'status', 'reason', 'created_at'],
  properties: {
    id: { type: 'string' },
    pipeline: { type: 'string' },
    environment: { type: 'string' },
    status: { type: 'string', enum: [...STATUSES, 'cancelling'] },
    reason: { type: 'string' },
    parameters: { type: 'object' },
    actor: { type: 'string' },
    cause: { type: 'string' },
    trigger: { type: ['string', 'null'] },
    run_id: { type: 'string', description: 'The run of the registry; the runs of its steps are its children' },
    experiment_id: { type: 'string' },
    created_at: { type: 'integer', description: 'Milliseconds since 1970' },
    ended_at: { type: ['integer', 'null'] },
  },
};
const FULL = {
  ...RUN,
  properties: {
    ...RUN.properties,
    steps: {
      type: 'array',
      items: {
        type: 'object',
        description: 'name, kind, status, reason, needs, job, run, outputs with digests, values',
      },
    },
    next_step: { type: 'string', description: 'What to do when it is not well' },
  },
};

async function list({ services, query }: AdminRequest): Promise<object> {
  const status = query.get('status') ?? undefined;
  if (status !== undefined && !STATUSES.includes(status as 'running'))
    throw invalidArgument(`status: ${JSON.stringify(status.slice(0, 60))} is not allowed; give ${STATUSES.join(', ')}`);
  const limit = readLimit(query);
  const found = await services.pipelines.runs({
    pipeline: query.get('pipeline') ?? undefined,
    trigger: query.get('trigger') ?? undefined,
    status: status as 'running' | undefined,
    before: keyBefore(query.get('page_token') ?? ''),
    limit: limit + 1,
  });
  const { rows, next } = keyPage(found, limit, (row) => row.run_key);
  return { runs: rows.map(runView), ...next };
}

function parametersOf(value: unknown): Record<string, string | number | boolean> {
  const given = value === undefined ? {} : asObject(value, 'parameters');
  for (const [name, parameter] of Object.entries(given))
    if (!['string', 'number', 'boolean'].includes(typeof parameter))
      throw invalidArgument(`parameters.${name} must be a text, a number or a boolean`);
  return given as Record<string, string | number | boolean>;
}

async function begin({ services, body, actor }: AdminRequest): Promise<object> {
  const fields = ['pipeline', 'document', 'environment', 'parameters', 'reason', 'commit', 'idempotency_key'];
  const given = asObject(body, 'the body', fields);
  if ((given.pipeline === undefined) === (given.document === undefined))
    throw invalidArgument('give pipeline, the name of one, or document, a whole one that is run once');
  const commit = textOf(given, 'commit', 64);
  if (commit !== '' && !/^[0-9a-f]{7,64}$/.test(commit))
    throw invalidArgument('commit must be 7 to 64 hexadecimal digits');
  return services.pipelines.run({
    pipeline: given.document === undefined ? textOf(given, 'pipeline') : asObject(given.document, 'document'),
    environment: textOf(given, 'environment') || undefined,
    parameters: parametersOf(given.parameters),
    reason: textOf(given, 'reason'),
    actor,
    commit: commit || undefined,
    idempotencyKey: textOf(given, 'idempotency_key') || undefined,
  });
}

const REASON: Schema = {
  type: 'object',
  additionalProperties: false,
  properties: { reason: { type: 'string', maxLength: 2000 } },
};

/** Runs of pipelines. */
export const pipelineRunRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/pipeline-runs',
    role: 'operator',
    operationId: 'listPipelineRuns',
    summary: 'Runs of pipelines, newest first',
    query: {
      ...PAGING_QUERY,
      pipeline: { type: 'string' },
      status: { type: 'string', enum: STATUSES },
      trigger: { type: 'string' },
    },
    response: {
      type: 'object',
      required: ['runs'],
      properties: { runs: { type: 'array', items: RUN }, next_page_token: { type: 'string' } },
    },
    errors: ['unavailable'],
    handle: async (request) => ({ body: await list(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/pipeline-runs',
    role: 'operator',
    operationId: 'runPipeline',
    summary: 'Run a pipeline in an environment',
    body: {
      type: 'object',
      additionalProperties: false,
      properties: {
        pipeline: { type: 'string', description: 'Name of a pipeline' },
        document: { type: 'object', description: 'A whole Pipeline, instead of a name; it is run once and not kept' },
        environment: { type: 'string', description: 'Default: pipelines.environment' },
        parameters: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
        reason: { type: 'string', maxLength: 2000 },
        commit: { type: 'string', description: 'Git commit of the code' },
        idempotency_key: {
          type: 'string',
          pattern: '^[a-z0-9]{8,40}$',
          description: 'Becomes its id; sent again, it is the same run',
        },
      },
    },
    bodyRequired: true,
    response: FULL,
    errors: ['not_found', 'unavailable'],
    handle: async (request) => ({ body: await begin(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/pipeline-runs/{run}',
    role: 'operator',
    operationId: 'getPipelineRun',
    summary: 'One run with its steps',
    response: FULL,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await services.pipelines.getRun(params.run) }),
  },
  {
    method: 'POST',
    path: '/api/v1/pipeline-runs/{run}/cancel',
    role: 'operator',
    operationId: 'cancelPipelineRun',
    summary: 'Cancel a run and its jobs; it answers at once and ends soon after',
    body: REASON,
    response: FULL,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, body, actor }) => {
      const reason = textOf(body === undefined ? {} : asObject(body, 'the body', ['reason']), 'reason');
      return { body: await services.pipelines.cancel(params.run, { actor, reason }) };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/pipeline-runs/{run}/resume',
    role: 'operator',
    operationId: 'resumePipelineRun',
    summary: 'Go on with a failed, held or cancelled run: what is done is not done again',
    response: FULL,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await services.pipelines.resume(params.run) }),
  },
];
