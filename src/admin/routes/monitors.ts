import type { AlertRow } from '../../monitoring/alert-store.ts';
import type { MonitorView } from '../../monitoring/view.ts';
import { keyBefore, keyPage } from '../../registry/models/pages.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page, readLimit } from '../paging.ts';
import type { AdminRoute, Schema } from '../route.ts';
import { flag, textOf } from './pipelines.ts';

const FREE = { type: 'object', additionalProperties: true };
const TEXT = { type: 'string' };
const TIME = { type: 'integer', description: 'Milliseconds since 1970' };
const MONITOR: Schema = {
  type: 'object',
  required: ['name', 'model', 'origin', 'level', 'reason', 'version', 'references', 'alarms', 'labels'],
  properties: {
    name: TEXT,
    model: TEXT,
    origin: { type: 'string', enum: ['file', 'api'] },
    level: { type: 'string', enum: ['ok', 'warning', 'alert'], description: 'The worst of its alarms' },
    reason: TEXT,
    version: { type: 'string', description: 'Of the worst alarm, else the champion' },
    references: { type: 'array', items: FREE },
    alarms: { type: 'array', items: FREE },
    last_window: { type: ['object', 'null'], additionalProperties: true },
    labels: FREE,
    retraining: { type: ['object', 'null'], additionalProperties: true },
  },
};
const WINDOW: Schema = {
  type: 'object',
  required: ['window', 'kind', 'version', 'state', 'reason', 'rows', 'from', 'to', 'first_request', 'last_request'],
  properties: {
    window: { type: 'integer' },
    kind: { type: 'string', enum: ['drift', 'quality'] },
    version: TEXT,
    state: { type: 'string', enum: ['ok', 'drifted', 'insufficient', 'learning', 'bad'] },
    reason: TEXT,
    rows: { type: 'integer' },
    from: TIME,
    to: TIME,
    first_request: TEXT,
    last_request: TEXT,
    detail: {
      description:
        'Of drift: columns by slice, those that changed most with `effects`: each statistic with its value, threshold and 95 % interval. Of quality: the metric with its 95 % interval, whole and by slice',
    },
  },
};
export const LINEAGE: Schema = {
  type: 'object',
  required: ['id', 'cause', 'reason', 'status', 'outcome', 'windows', 'pipeline_run', 'steps', 'version', 'promotion'],
  properties: {
    id: TEXT,
    cause: { type: 'string', enum: ['drift', 'quality', 'labels', 'schedule'] },
    reason: TEXT,
    status: { type: 'string', enum: ['running', 'canary', 'promoted', 'notPromoted', 'failed'] },
    outcome: TEXT,
    windows: { type: 'array', items: FREE },
    data: { type: ['object', 'null'], additionalProperties: true },
    pipeline_run: TEXT,
    steps: { type: 'array', items: FREE },
    version: TEXT,
    rollout: { type: ['object', 'null'], additionalProperties: true },
    evidence: { type: 'array', items: FREE, description: 'What gates found out about the version' },
    promotion: { type: ['object', 'null'], additionalProperties: true },
  },
};

export const ALERT: Schema = {
  type: 'object',
  required: [
    'alert',
    'version',
    'signal',
    'level',
    'reason',
    'window',
    'changed_at',
    'begun_at',
    'alert_at',
    'ended_at',
  ],
  properties: {
    alert: { type: 'integer' },
    version: TEXT,
    signal: { type: 'string', description: 'drift, or a metric of quality' },
    level: { type: 'string', enum: ['warning', 'alert'], description: 'The worst that it reached' },
    reason: TEXT,
    window: { type: 'integer', description: 'With which its level was reached' },
    changed_at: { ...TIME, description: 'When its first bad window began' },
    begun_at: TIME,
    alert_at: { type: ['integer', 'null'] },
    ended_at: { type: ['integer', 'null'] },
    end_reason: TEXT,
  },
};

const ORIGINAL: Schema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'switchyard/v1' },
    kind: { const: 'Monitor' },
    metadata: { type: 'object', required: ['name'], properties: { name: TEXT } },
    spec: { type: 'object', description: 'See config/monitor.schema.json' },
  },
};
const DRY_RUN = { dry_run: { type: 'string', enum: ['true', 'false'], description: 'Only check' } };
const CHANGED: Schema = {
  type: 'object',
  required: ['changed'],
  properties: { changed: { type: 'array', items: TEXT } },
};

export function alertView(row: AlertRow): object {
  return {
    alert: row.key,
    version: row.version,
    signal: row.signal,
    level: row.level,
    reason: row.reason,
    window: row.window,
    changed_at: row.changedAt,
    begun_at: row.begunAt,
    alert_at: row.alertAt,
    ended_at: row.endedAt,
    end_reason: row.endReason,
  };
}

export function listOf(key: string, items: Schema): Schema {
  return {
    type: 'object',
    required: [key],
    properties: { [key]: { type: 'array', items }, next_page_token: TEXT },
  };
}

function changesOf(body: unknown): { name: string; body: unknown }[] {
  const { documents } = asObject(body, 'the body', ['documents']);
  if (!Array.isArray(documents) || documents.length === 0)
    throw invalidArgument('documents: must be a list of monitors');
  return documents.map((document: unknown, i) => {
    const { metadata } = asObject(document, `documents[${i}]`);
    const { name } = asObject(metadata ?? null, `documents[${i}]: metadata`);
    if (typeof name !== 'string' || name === '') throw invalidArgument(`documents[${i}]: metadata.name is missing`);
    return { name, body: document };
  });
}

/** Monitors: what they watch, what they saw, and what followed. */
export const monitorRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/monitors',
    role: 'operator',
    operationId: 'listMonitors',
    summary: 'Every monitor and where it stands, by name',
    query: PAGING_QUERY,
    response: listOf('monitors', MONITOR),
    errors: ['unavailable'],
    handle: async ({ services, query }) => {
      const { rows, next } = page<MonitorView>(await services.monitors.list(), ({ name }) => name, query);
      return { body: { monitors: rows, ...(next === undefined ? {} : { next_page_token: next }) } };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/monitors',
    role: 'operator',
    operationId: 'applyMonitors',
    summary: 'Make or replace monitors: all of them, or none and the problems are named',
    query: DRY_RUN,
    body: {
      type: 'object',
      required: ['documents'],
      additionalProperties: false,
      properties: { documents: { type: 'array', items: ORIGINAL } },
    },
    bodyRequired: true,
    response: CHANGED,
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services, body, query }) => {
      const changes = changesOf(body);
      await services.monitors.change(changes, flag(query, 'dry_run'));
      return { body: { changed: changes.map(({ name }) => name) } };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/monitors-reload',
    role: 'operator',
    operationId: 'reloadMonitors',
    summary: 'Read the monitor files again: all of them are taken, or none and the problems are listed with 400',
    response: { type: 'object', properties: { problems: { type: 'array', items: TEXT } } },
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services }) => {
      const problems = await services.monitors.reload();
      if (problems.length === 0) return { body: { problems } };
      return { status: 400, body: { error: problems.join('\n'), code: 'failed_precondition', problems } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/monitors/{name}',
    role: 'operator',
    operationId: 'getMonitor',
    summary: 'One monitor with its document',
    response: { ...MONITOR, properties: { ...(MONITOR.properties as object), document: ORIGINAL } },
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await services.monitors.get(params.name) }),
  },
  {
    method: 'DELETE',
    path: '/api/v1/monitors/{name}',
    role: 'operator',
    operationId: 'deleteMonitor',
    summary: 'Remove a monitor that was made over the API; what it saw stays',
    query: DRY_RUN,
    response: CHANGED,
    errors: ['not_found', 'failed_precondition', 'unavailable'],
    handle: async ({ services, params, query }) => {
      await services.monitors.change([{ name: params.name, body: undefined }], flag(query, 'dry_run'));
      return { body: { changed: [params.name] } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/monitors/{name}/windows',
    role: 'operator',
    operationId: 'listMonitorWindows',
    summary: 'What each window said, newest first',
    query: PAGING_QUERY,
    response: listOf('windows', WINDOW),
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, query }) => {
      const limit = readLimit(query);
      const found = await services.monitors.windows(params.name, keyBefore(query.get('page_token') ?? ''), limit + 1);
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      const windows = rows.map((row) => ({
        window: row.key,
        kind: row.kind,
        version: row.version,
        state: row.state,
        reason: row.reason,
        rows: row.rows,
        from: row.from,
        to: row.to,
        first_request: row.firstId,
        last_request: row.lastId,
        detail: row.body,
      }));
      return { body: { windows, ...next } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/monitors/{name}/alerts',
    role: 'operator',
    operationId: 'listMonitorAlerts',
    summary: 'Its alarms, newest first: what rang, from which window on, and what ended it',
    query: PAGING_QUERY,
    response: listOf('alerts', ALERT),
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, query }) => {
      const limit = readLimit(query);
      const found = await services.monitors.alerts(params.name, keyBefore(query.get('page_token') ?? ''), limit + 1);
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      return { body: { alerts: rows.map(alertView), ...next } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/monitors/{name}/lineage',
    role: 'operator',
    operationId: 'listMonitorLineage',
    summary: 'Its retrainings, newest first, each from requests over windows, rows, jobs and version to its promotion',
    query: PAGING_QUERY,
    response: listOf('retrainings', LINEAGE),
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, query }) => {
      const limit = readLimit(query);
      const found = await services.monitors.lineage(params.name, keyBefore(query.get('page_token') ?? ''), limit + 1);
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      return { body: { retrainings: rows.map(({ key: _, ...row }) => row), ...next } };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/monitors/{name}/reset',
    role: 'operator',
    operationId: 'resetMonitor',
    summary: 'Learn the references anew, end its alarms, and close its breaker',
    body: {
      type: 'object',
      additionalProperties: false,
      properties: { reason: { type: 'string', maxLength: 2000 } },
    },
    response: MONITOR,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, body, actor }) => {
      const reason = textOf(asObject(body ?? {}, 'the body', ['reason']), 'reason');
      return { body: await services.monitors.reset(params.name, { actor, reason }) };
    },
  },
];
