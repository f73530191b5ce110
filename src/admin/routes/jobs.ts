import { invalidArgument } from '../../shared/errors.ts';
import { JOB_STATUSES, type JobParent, type JobStatus } from '../../training/jobs/jobs.ts';
import type { JobDocumentInput } from '../../training/jobs/spec.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, readLimit } from '../paging.ts';
import type { AdminRequest, AdminRoute, Schema } from '../route.ts';
import { sendLog, streamEvents } from './job-streams.ts';
import { jobJson, noSuchJob } from './job-view.ts';

const TIME = { type: ['integer', 'null'], description: 'Milliseconds since 1970' };
const PARENT_KINDS = ['sweep', 'pipeline', 'trigger'] as const;
const JOB: Schema = {
  type: 'object',
  required: ['id', 'name', 'status', 'reason', 'attempt', 'run_id', 'metrics', 'created_at'],
  properties: {
    id: { type: 'string' },
    name: { type: 'string' },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
    runner: { type: 'string' },
    status: { type: 'string', enum: JOB_STATUSES },
    reason: { type: 'string', description: 'Why it is where it is; empty: nothing to tell' },
    next_step: { type: 'string' },
    attempt: { type: 'integer' },
    exit_code: { type: ['integer', 'null'] },
    signal: { type: ['string', 'null'] },
    run_id: { type: 'string' },
    experiment_id: { type: 'string' },
    progress: { type: ['number', 'null'], minimum: 0, maximum: 1 },
    metrics: { type: 'object', description: "Last values of the run's metrics" },
    created_at: { type: 'integer' },
    started_at: TIME,
    ended_at: TIME,
    parent: { type: ['object', 'null'], properties: { kind: { type: 'string' }, id: { type: 'string' } } },
    actor: { type: 'string' },
    log_tail: { type: 'string' },
  },
};
const DOCUMENT: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { const: 'Job' },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    spec: { type: 'object', description: 'See config/job.schema.json' },
  },
};
const REASON = { reason: { type: 'string', maxLength: 500 } };
const LOG_QUERY = {
  attempt: { type: 'integer', minimum: 1, description: 'Default: the last one' },
  offset: { type: 'integer', minimum: 0, default: 0, description: 'First byte' },
};

function oneOf<T extends string>(query: URLSearchParams, name: string, allowed: readonly T[]): T | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  const found = allowed.find((one) => one === value);
  if (found === undefined)
    throw invalidArgument(`${name}: ${JSON.stringify(value.slice(0, 100))} is not allowed; give ${allowed.join(', ')}`);
  return found;
}

function readParent(query: URLSearchParams): JobParent | undefined {
  const kind = oneOf(query, 'parent_kind', PARENT_KINDS);
  const id = query.get('parent_id') ?? '';
  if ((kind === undefined) !== (id === '')) throw invalidArgument('give parent_kind and parent_id, or neither');
  return kind === undefined ? undefined : { kind, id };
}

async function list({ services, query }: AdminRequest): Promise<object> {
  const { jobs } = await services.training.get();
  const status = oneOf<JobStatus>(query, 'status', JOB_STATUSES);
  const parent = readParent(query);
  const name = query.get('name') ?? '';
  const found = await jobs.list({
    ...(status === undefined ? {} : { status }),
    ...(name === '' ? {} : { name }),
    ...(parent === undefined ? {} : { parent }),
    pageToken: query.get('page_token') ?? '',
    maxResults: readLimit(query),
  });
  const next = found.nextPageToken;
  return { jobs: found.jobs.map(jobJson), ...(next === '' ? {} : { next_page_token: next }) };
}

async function submit({ services, body, query, actor }: AdminRequest): Promise<object> {
  const { jobs } = await services.training.get();
  const document = asObject(body, 'the body') as unknown as JobDocumentInput;
  const reason = readReason({ reason: query.get('reason') ?? '' });
  if (oneOf(query, 'dry_run', ['true', 'false']) === 'true') {
    const { metadata, spec } = await jobs.validate(document, actor);
    return { name: metadata.name, valid: true, runner: spec.runner };
  }
  return jobJson(await jobs.submit(document, { actor, reason }));
}

function readReason({ reason }: Record<string, unknown>): string {
  if (reason === undefined) return '';
  if (typeof reason === 'string' && reason.length <= 500) return reason;
  throw invalidArgument('reason must be a text of at most 500 characters');
}

function command(verb: 'cancel' | 'retry', summary: string): AdminRoute {
  return {
    method: 'POST',
    path: `/api/v1/jobs/{job}/${verb}`,
    role: 'operator',
    operationId: `${verb}Job`,
    summary,
    body: { type: 'object', additionalProperties: false, properties: REASON },
    response: JOB,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params, body, actor }) => {
      const { jobs } = await services.training.get();
      const given = body === undefined ? {} : asObject(body, 'the body', ['reason']);
      return { body: jobJson(await jobs[verb](params.job, { actor, reason: readReason(given) })) };
    },
  };
}

export const jobRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/jobs',
    role: 'operator',
    operationId: 'listJobs',
    summary: 'Training jobs, the newest first',
    query: {
      ...PAGING_QUERY,
      status: { type: 'string', enum: JOB_STATUSES },
      name: { type: 'string' },
      parent_kind: { type: 'string', enum: PARENT_KINDS },
      parent_id: { type: 'string' },
    },
    response: {
      type: 'object',
      required: ['jobs'],
      properties: { jobs: { type: 'array', items: JOB }, next_page_token: { type: 'string' } },
    },
    errors: ['unavailable'],
    handle: async (request) => ({ body: await list(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/jobs',
    role: 'operator',
    operationId: 'submitJob',
    summary: 'Keep a job and run it when its resources are free. The same idempotencyKey gives the job that exists',
    query: {
      dry_run: { type: 'string', enum: ['true', 'false'], description: 'Only check' },
      reason: { type: 'string', maxLength: 500 },
    },
    body: DOCUMENT,
    bodyRequired: true,
    response: JOB,
    errors: ['unavailable'],
    handle: async (request) => ({ body: await submit(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/jobs/{job}',
    role: 'operator',
    operationId: 'getJob',
    summary: 'One job',
    response: JOB,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => {
      const job = await (await services.training.get()).jobs.get(params.job);
      if (job === undefined) throw noSuchJob(params.job);
      return { body: jobJson(job) };
    },
  },
  {
    method: 'DELETE',
    path: '/api/v1/jobs/{job}',
    role: 'operator',
    operationId: 'deleteJob',
    summary: 'Forget an ended job with its files; its run stays',
    response: { type: 'object', required: ['deleted'], properties: { deleted: { type: 'string' } } },
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params }) => {
      await (await services.training.get()).jobs.remove(params.job);
      return { body: { deleted: params.job } };
    },
  },
  command('cancel', 'Ask for the end of a job: TERM, and KILL after its graceSeconds'),
  command('retry', 'Give an ended job another round of attempts in the same run'),
  {
    method: 'GET',
    path: '/api/v1/jobs/{job}/history',
    role: 'operator',
    operationId: 'getJobHistory',
    summary: 'What a job went through, oldest first',
    response: {
      type: 'object',
      required: ['history'],
      properties: { history: { type: 'array', items: { type: 'object' } } },
    },
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => {
      const history = await (await services.training.get()).jobs.history(params.job);
      if (history.length === 0) throw noSuchJob(params.job);
      return { body: { history } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/jobs/{job}/logs',
    role: 'operator',
    operationId: 'getJobLogs',
    summary: 'Output of a job, or a range of its bytes: by offset, or with the header Range',
    query: LOG_QUERY,
    response: { type: 'string' },
    contentType: 'text/plain; charset=utf-8',
    errors: ['not_found', 'unavailable'],
    stream: sendLog,
  },
  {
    method: 'GET',
    path: '/api/v1/jobs/{job}/events',
    role: 'operator',
    operationId: 'streamJobEvents',
    summary:
      'Server-sent events until the job is over: "job" when it changes, "log" with its output. Last-Event-ID goes on',
    query: { ...LOG_QUERY, logs: { type: 'string', enum: ['true', 'false'], default: 'true' } },
    response: { type: 'string' },
    contentType: 'text/event-stream',
    errors: ['not_found', 'unavailable'],
    stream: streamEvents,
  },
];
