import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { SWEEP_STATUSES, type SweepStatus, type SweepView, type TrialView } from '../../training/sweeps/sweeps.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, readLimit } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';

const TIME = { type: 'integer', description: 'Milliseconds since 1970' };
const TRIAL: Schema = {
  type: 'object',
  required: ['number', 'params', 'status'],
  properties: {
    number: { type: 'integer' },
    params: { type: 'object', additionalProperties: { type: ['number', 'string'] } },
    status: {
      type: 'string',
      enum: ['pending', 'running', 'stopping', 'complete', 'stopped', 'failed', 'cancelled'],
      description: 'stopped: early, by the sweep',
    },
    reason: { type: 'string' },
    job_id: { type: ['string', 'null'] },
    run_id: { type: ['string', 'null'] },
    value: { type: ['number', 'null'], description: 'The objective' },
    last_step: { type: 'integer' },
    created_at: TIME,
    ended_at: { ...TIME, type: ['integer', 'null'] },
  },
};
const SWEEP: Schema = {
  type: 'object',
  required: ['id', 'name', 'status'],
  properties: {
    id: { type: 'string' },
    name: { type: 'string' },
    status: { type: 'string', enum: [...SWEEP_STATUSES], description: 'ending: running trials are being stopped' },
    reason: { type: 'string' },
    algorithm: { type: 'string' },
    objective: { type: 'object' },
    max_trial_count: { type: 'integer' },
    trials: { type: 'object', additionalProperties: { type: 'integer' }, description: 'How many stand where' },
    best: { anyOf: [TRIAL, { type: 'null' }] },
    run_id: { type: 'string', description: 'The run under which the runs of the trials lie' },
    experiment_id: { type: 'string' },
    actor: { type: 'string' },
    created_at: TIME,
    ended_at: { ...TIME, type: ['integer', 'null'] },
  },
};
const DOCUMENT: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { const: 'Sweep' },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    spec: { type: 'object', description: 'See config/sweep.schema.json' },
  },
};

function trialRow(trial: TrialView): object {
  const { jobId, runId, lastStep, createdAt, endedAt, ...rest } = trial;
  return { ...rest, job_id: jobId, run_id: runId, last_step: lastStep, created_at: createdAt, ended_at: endedAt };
}

function sweepRow({ maxTrialCount, best, runId, experimentId, createdAt, endedAt, ...rest }: SweepView): object {
  return {
    ...rest,
    max_trial_count: maxTrialCount,
    best: best === null ? null : trialRow(best),
    run_id: runId,
    experiment_id: experimentId,
    created_at: createdAt,
    ended_at: endedAt,
  };
}

async function list({ services, query }: AdminRequest): Promise<object> {
  const status = query.get('status');
  if (status !== null && !SWEEP_STATUSES.includes(status as SweepStatus))
    throw invalidArgument(
      `status: ${JSON.stringify(status.slice(0, 100))} is not allowed; give ${SWEEP_STATUSES.join(', ')}`,
    );
  const { sweeps, nextPageToken } = await (await services.training.get()).sweeps.list({
    ...(status === null ? {} : { status: status as SweepStatus }),
    pageToken: query.get('page_token') ?? '',
    maxResults: readLimit(query),
  });
  return { sweeps: sweeps.map(sweepRow), ...(nextPageToken === '' ? {} : { next_page_token: nextPageToken }) };
}

function missing(id: string): SwitchyardError {
  return new SwitchyardError('not_found', `no sweep ${JSON.stringify(id.slice(0, 100))}; list them at /api/v1/sweeps`);
}

async function listTrials({ services, params: { sweep }, query }: AdminRequest): Promise<object> {
  const page = { pageToken: query.get('page_token') ?? '', maxResults: readLimit(query) };
  const found = await (await services.training.get()).sweeps.trials(sweep, page);
  if (found === undefined) throw missing(sweep);
  const { trials, nextPageToken } = found;
  return { trials: trials.map(trialRow), ...(nextPageToken === '' ? {} : { next_page_token: nextPageToken }) };
}

export const sweepRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/sweeps',
    role: 'operator',
    operationId: 'listSweeps',
    summary: 'Sweeps with their best trial, newest first',
    query: { ...PAGING_QUERY, status: { type: 'string', enum: [...SWEEP_STATUSES] } },
    response: {
      type: 'object',
      required: ['sweeps'],
      properties: { sweeps: { type: 'array', items: SWEEP }, next_page_token: { type: 'string' } },
    },
    handle: async (request) => ({ body: await list(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/sweeps',
    role: 'operator',
    operationId: 'submitSweep',
    summary: 'Begin a sweep; the same idempotency key gives the sweep that exists',
    body: DOCUMENT,
    bodyRequired: true,
    response: SWEEP,
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services, body, actor }) => {
      const { sweeps } = await services.training.get();
      return { body: sweepRow(await sweeps.submit(body, { actor, reason: '' })) };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/sweeps/{sweep}',
    role: 'operator',
    operationId: 'getSweep',
    summary: 'One sweep',
    response: SWEEP,
    errors: ['not_found'],
    handle: async ({ services, params: { sweep } }) => {
      const found = await (await services.training.get()).sweeps.get(sweep);
      if (found === undefined) throw missing(sweep);
      return { body: sweepRow(found) };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/sweeps/{sweep}/trials',
    role: 'operator',
    operationId: 'listSweepTrials',
    summary: 'The trials of a sweep, by number',
    query: PAGING_QUERY,
    response: {
      type: 'object',
      required: ['trials'],
      properties: { trials: { type: 'array', items: TRIAL }, next_page_token: { type: 'string' } },
    },
    errors: ['not_found'],
    handle: async (request) => ({ body: await listTrials(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/sweeps/{sweep}/cancel',
    role: 'operator',
    operationId: 'cancelSweep',
    summary: 'Stop the running trials and begin no more',
    body: { type: 'object', additionalProperties: false, properties: { reason: { type: 'string', maxLength: 500 } } },
    response: SWEEP,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params: { sweep }, body, actor }) => {
      const { reason = '' } = body === undefined ? {} : asObject(body, 'the body', ['reason']);
      if (typeof reason !== 'string' || reason.length > 500)
        throw invalidArgument('reason must be a text of at most 500 characters');
      return { body: sweepRow(await (await services.training.get()).sweeps.cancel(sweep, { actor, reason })) };
    },
  },
];
