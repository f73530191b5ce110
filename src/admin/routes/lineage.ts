import type { GivenFacts } from '../../monitoring/trace-request.ts';
import { keyBefore, keyPage } from '../../registry/models/pages.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { PAGING_QUERY, readLimit } from '../paging.ts';
import type { AdminRoute, Schema } from '../route.ts';
import { ALERT, alertView, LINEAGE, listOf } from './monitors.ts';

const TEXT = { type: 'string' };
const TIME = { type: 'integer', description: 'Milliseconds since 1970' };
const FREE = { type: 'object', additionalProperties: true };
const TEXTS = { type: 'array', items: TEXT };

const MONITOR_TRACE: Schema = {
  type: 'object',
  required: ['monitor', 'counted', 'reason', 'windows', 'alerts', 'retrainings'],
  properties: {
    monitor: TEXT,
    counted: {
      type: 'string',
      enum: ['window', 'reference', 'open', 'no'],
      description: 'open: in a window that has not ended',
    },
    reason: TEXT,
    windows: {
      type: 'array',
      items: FREE,
      description: 'Those that it was counted in, by its time and version; certain: false where these fit several',
    },
    alerts: { type: 'array', items: ALERT },
    retrainings: {
      type: 'array',
      items: {
        ...LINEAGE,
        properties: {
          ...(LINEAGE.properties as object),
          by: {
            type: 'array',
            items: { type: 'string', enum: ['alert', 'data'] },
            description: 'alert: its window rang; data: its labelled row was learnt from',
          },
        },
      },
    },
  },
};
const TRACE: Schema = {
  type: 'object',
  required: ['id', 'place', 'reason', 'oldest_record', 'searched', 'problems', 'request', 'record', 'monitors'],
  properties: {
    id: TEXT,
    place: { type: 'string', description: 'Where the record is kept: spool, a file, a topic; empty: nowhere' },
    reason: { type: 'string', description: 'What is wanting, such as a record that has left retention' },
    oldest_record: { type: ['integer', 'null'], description: 'Time of the oldest record that is kept' },
    searched: TEXTS,
    problems: TEXTS,
    request: { type: ['object', 'null'], additionalProperties: true },
    record: { type: ['object', 'null'], additionalProperties: true, description: 'As the log has it' },
    monitors: { type: 'array', items: MONITOR_TRACE },
  },
};

/** The way of a request to what became of it, and back from a version to the requests. */
export const lineageRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/lineage/requests/{id}',
    role: 'operator',
    operationId: 'traceRequest',
    summary:
      'One request by its x-switchyard-id: its record, the windows it was counted in, their alarms, and the retrainings that followed, with jobs, version, evidence and promotion',
    query: {
      model: { ...TEXT, description: 'With version and time: for a request whose record is gone' },
      version: TEXT,
      time: { ...TIME, description: 'About when it was, in milliseconds since 1970: less is read through' },
    },
    response: TRACE,
    errors: ['unavailable'],
    handle: async ({ services, params, query }) => {
      const trace = await services.monitors.trace(params.id, givenFacts(query));
      const monitors = trace.monitors.map((one) => ({
        ...one,
        alerts: one.alerts.map(alertView),
        retrainings: one.retrainings.map(({ key: _, ...row }) => row),
      }));
      return { body: { ...trace, monitors } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/lineage/models/{model}/versions/{version}',
    role: 'operator',
    operationId: 'traceVersion',
    summary: 'The retrainings that brought a version, newest first: the windows, rows and jobs that it comes from',
    query: PAGING_QUERY,
    response: listOf('retrainings', LINEAGE),
    errors: ['unavailable'],
    handle: async ({ services, params, query }) => {
      const limit = readLimit(query);
      const before = keyBefore(query.get('page_token') ?? '');
      const found = await services.monitors.origin(params.model, params.version, before, limit + 1);
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      return { body: { retrainings: rows.map(({ key: _, ...row }) => row), ...next } };
    },
  },
];

function givenFacts(query: URLSearchParams): GivenFacts {
  const given: GivenFacts = {};
  const [model, version, time] = ['model', 'version', 'time'].map((name) => query.get(name) ?? '');
  if (model !== '') given.model = model;
  if (version !== '') given.version = version;
  if (time === '') return given;
  if (!/^\d{1,15}$/.test(time))
    throw invalidArgument(`time: ${JSON.stringify(time)} is not allowed; give milliseconds since 1970`);
  return { ...given, time: Number(time) };
}
