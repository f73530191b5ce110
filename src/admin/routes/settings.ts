import { asObject } from '../body.ts';
import type { AdminRoute } from '../route.ts';

const SETTINGS = { type: 'object', description: "Triton's field names" };
const TRACE_QUERY = { model: { type: 'string', description: 'Settings of one model; absent: the global ones' } };

export const settingsRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/log-settings',
    role: 'operator',
    operationId: 'getLogSettings',
    summary: 'What is logged',
    response: SETTINGS,
    handle: async ({ services }) => ({ body: (await services.control.call('logSettings', [undefined])) as object }),
  },
  {
    method: 'PUT',
    path: '/api/v1/log-settings',
    role: 'operator',
    operationId: 'updateLogSettings',
    summary: 'Change what is logged; fields left out stay as they are',
    body: SETTINGS,
    bodyRequired: true,
    response: SETTINGS,
    errors: ['unsupported'],
    handle: async ({ services, body }) => ({
      body: (await services.control.call('logSettings', [asObject(body, 'the body')])) as object,
    }),
  },
  {
    method: 'GET',
    path: '/api/v1/trace-settings',
    role: 'operator',
    operationId: 'getTraceSettings',
    summary: 'What is traced',
    query: TRACE_QUERY,
    response: SETTINGS,
    handle: async ({ services, query }) => ({
      body: (await services.control.call('traceSettings', [query.get('model') ?? '', undefined])) as object,
    }),
  },
  {
    method: 'PUT',
    path: '/api/v1/trace-settings',
    role: 'operator',
    operationId: 'updateTraceSettings',
    summary: 'Change what is traced; null gives a field back its inherited value',
    query: TRACE_QUERY,
    body: SETTINGS,
    bodyRequired: true,
    response: SETTINGS,
    errors: ['unsupported', 'overloaded'],
    handle: async ({ services, query, body }) => ({
      body: (await services.control.call('traceSettings', [
        query.get('model') ?? '',
        asObject(body, 'the body'),
      ])) as object,
    }),
  },
];
