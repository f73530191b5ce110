import { statisticsOf } from '../../gateway/statistics.ts';
import type { VersionStatus } from '../../pipeline/types.ts';
import { statisticsBody } from '../../protocol/v2/metadata.ts';
import { readLoadParameters } from '../../server/http/handlers/repository.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page } from '../paging.ts';
import type { AdminRequest, AdminRoute } from '../route.ts';

const STATES = ['UNKNOWN', 'LOADING', 'READY', 'UNLOADING', 'UNAVAILABLE'];

const VERSION = {
  type: 'object',
  required: ['version', 'state', 'reason'],
  properties: {
    version: { type: 'string' },
    state: { type: 'string', enum: STATES },
    reason: { type: 'string', description: 'Why it is unavailable or unloading' },
  },
};
const MODEL = {
  type: 'object',
  required: ['name', 'versions'],
  properties: { name: { type: 'string' }, versions: { type: 'array', items: VERSION } },
};

interface IndexRow {
  name: string;
  versions: VersionStatus[];
}

async function list({ services, query }: AdminRequest): Promise<object> {
  const prefix = query.get('name') ?? '';
  const state = query.get('state');
  if (state !== null && !STATES.includes(state))
    throw invalidArgument(
      `state: ${JSON.stringify(state.slice(0, 100))} is not allowed; give one of ${STATES.join(', ')}`,
    );
  const index = await services.control.repositoryIndex(false);
  const found = index
    .filter((row) => row.name.startsWith(prefix))
    .filter((row) => state === null || row.versions.some((version) => version.state === state))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const { rows, next } = page(found, (row) => row.name, query);
  return { models: rows.map(modelRow), ...(next === undefined ? {} : { next_page_token: next }) };
}

function modelRow({ name, versions }: IndexRow): object {
  return { name, versions: versions.map(({ version, state, reason }) => ({ version, state, reason })) };
}

async function get({ services, params }: Pick<AdminRequest, 'services' | 'params'>): Promise<object> {
  const index = await services.control.repositoryIndex(false);
  const row = index.find((candidate) => candidate.name === params.name);
  if (row === undefined)
    throw new SwitchyardError(
      'not_found',
      `model ${JSON.stringify(params.name.slice(0, 140))} is in no model repository`,
    );
  const serving = services.manager.table().models.get(params.name);
  return {
    ...modelRow(row),
    on_demand: serving?.onDemand ?? false,
    serving: (serving?.versions ?? []).map(({ version, executors, config }) => ({
      version,
      executors,
      config: config.raw,
    })),
  };
}

/** Triton's load request: `{"parameters": {"config": "<JSON>", "file:1/model.onnx": "<base64>"}}`, all of it optional. */
async function load({ services, params, body }: AdminRequest): Promise<object> {
  const request = body === undefined ? {} : asObject(body, 'the body', ['parameters']);
  const parameters = request.parameters === undefined ? {} : asObject(request.parameters, 'parameters');
  const { config, files } = readLoadParameters(parameters);
  await services.control.call('loadModel', [params.name, config, files]);
  return get({ services, params });
}

async function unload({ services, params, body }: AdminRequest): Promise<object> {
  const request = body === undefined ? {} : asObject(body, 'the body', ['parameters']);
  const parameters =
    request.parameters === undefined ? {} : asObject(request.parameters, 'parameters', ['unload_dependents']);
  const dependents = parameters.unload_dependents ?? false;
  if (typeof dependents !== 'boolean') throw invalidArgument('parameters.unload_dependents must be true or false');
  await services.control.call('unloadModel', [params.name, dependents]);
  return { name: params.name };
}

function statistics({ services, params, query }: AdminRequest): object {
  const { hub, manager } = services;
  return statisticsBody(statisticsOf(hub.reader, manager.table(), params.name, query.get('version') ?? ''));
}

const nullable = (type: string, description: string) => ({ type: [type, 'null'], description });
const FIELD_SKEW = {
  type: 'object',
  required: ['field', 'column', 'state', 'values', 'missing', 'training_missing', 'linf', 'js', 'limits'],
  properties: {
    field: { type: 'string' },
    column: { type: 'string', description: "The dataset's" },
    state: { type: 'string', enum: ['ok', 'skewed', 'insufficient', 'absent'] },
    values: { type: 'integer', description: 'That were counted, missing ones too' },
    missing: { type: 'number', description: 'Share of missing values' },
    training_missing: nullable('number', 'The same of the training data'),
    linf: nullable('number', "Largest difference of a value's or bin's shares"),
    js: nullable('number', 'Jensen-Shannon divergence, base 2'),
    limits: { type: 'object', properties: { linf: { type: 'number' }, js: { type: 'number' } } },
  },
};
const SKEW = {
  type: 'object',
  required: ['model', 'version', 'dataset', 'dataset_version', 'from', 'rows', 'problem', 'fields'],
  properties: {
    model: { type: 'string' },
    version: { type: 'string' },
    dataset: { type: 'string' },
    dataset_version: nullable('integer', 'Null: the latest'),
    from: { type: 'integer', description: 'Milliseconds since 1970: since when requests are counted' },
    rows: { type: 'integer' },
    problem: { type: 'string', description: "Why there is no comparison; '': there is one" },
    fields: { type: 'array', items: FIELD_SKEW },
  },
};

async function skewRows({ services, params }: AdminRequest): Promise<object> {
  const reports = await services.skew.report(params.name);
  const orNull = <T>(value: T | undefined): T | null => value ?? null;
  return {
    versions: reports.map(({ dataset_version, fields, ...report }) => ({
      ...report,
      dataset_version: orNull(dataset_version),
      fields: fields.map(({ training_missing, linf, js, ...field }) => ({
        ...field,
        training_missing: orNull(training_missing),
        linf: orNull(linf),
        js: orNull(js),
      })),
    })),
  };
}

export const modelRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/models',
    role: 'operator',
    operationId: 'listModels',
    summary: 'Every known model with its versions and their states, by name',
    query: {
      ...PAGING_QUERY,
      name: { type: 'string', description: 'Only names that start so' },
      state: { type: 'string', enum: STATES, description: 'Only models with a version in this state' },
    },
    response: {
      type: 'object',
      required: ['models'],
      properties: { models: { type: 'array', items: MODEL }, next_page_token: { type: 'string' } },
    },
    handle: async (request) => ({ body: await list(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/models/{name}',
    role: 'operator',
    operationId: 'getModel',
    summary: 'One model: versions, states, and configuration and executors of the versions that serve',
    response: {
      ...MODEL,
      properties: {
        ...MODEL.properties,
        on_demand: { type: 'boolean', description: 'Not in memory; the next request loads it' },
        serving: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              version: { type: 'string' },
              executors: { type: 'array', items: { type: 'integer' } },
              config: { type: 'object', description: "Triton's ModelConfig, completed" },
            },
          },
        },
      },
    },
    errors: ['not_found'],
    handle: async (request) => ({ body: await get(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/models/{name}/skew',
    role: 'operator',
    operationId: 'modelSkew',
    summary: 'How far what a model is asked lately is from its training data, by version and field',
    response: {
      type: 'object',
      required: ['versions'],
      properties: {
        versions: { type: 'array', items: SKEW, description: 'Those that were asked and name training data' },
      },
    },
    handle: async (request) => ({ body: await skewRows(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/models/{name}/load',
    role: 'operator',
    operationId: 'loadModel',
    summary: 'Load or reload a model (model control mode explicit)',
    body: {
      type: 'object',
      additionalProperties: false,
      properties: {
        parameters: {
          type: 'object',
          properties: { config: { type: 'string', description: 'ModelConfig as JSON text' } },
          patternProperties: { '^file:': { type: 'string', contentEncoding: 'base64' } },
          additionalProperties: false,
        },
      },
    },
    response: MODEL,
    errors: ['not_found', 'failed_precondition'],
    handle: async (request) => ({ body: await load(request) }),
  },
  {
    method: 'POST',
    path: '/api/v1/models/{name}/unload',
    role: 'operator',
    operationId: 'unloadModel',
    summary: 'Unload a model (model control mode explicit)',
    body: {
      type: 'object',
      additionalProperties: false,
      properties: {
        parameters: {
          type: 'object',
          properties: { unload_dependents: { type: 'boolean', default: false } },
          additionalProperties: false,
        },
      },
    },
    response: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
    errors: ['not_found', 'failed_precondition'],
    handle: async (request) => ({ body: await unload(request) }),
  },
  {
    method: 'GET',
    path: '/api/v1/models/{name}/statistics',
    role: 'operator',
    operationId: 'modelStatistics',
    summary: "Triton's statistics of the ready versions, summed over all threads",
    query: { version: { type: 'string', description: 'Only this version' } },
    response: {
      type: 'object',
      required: ['model_stats'],
      properties: { model_stats: { type: 'array', items: { type: 'object' } } },
    },
    errors: ['not_found'],
    handle: (request) => ({ body: statistics(request) }),
  },
];
