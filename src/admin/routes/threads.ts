import type { AdminRoute } from '../route.ts';
import type { AdminServices } from '../services.ts';

function threads({ pool, fleet, version }: AdminServices): object {
  const { executors, versions } = pool.describe();
  return {
    process: {
      pid: process.pid,
      version,
      uptime_seconds: Math.round(process.uptime()),
      rss_bytes: process.memoryUsage.rss(),
    },
    gateways: fleet.ids().map((id) => ({ name: `gateway-${id}` })),
    executors: executors.map(({ id, compute }) => ({
      name: `executor-${id}`,
      kind: compute ? 'compute' : 'io',
      models: versions
        .filter((placed) => placed.executors.includes(id))
        .map(({ model, version: loaded }) => ({ model, version: loaded })),
    })),
  };
}

export const threadRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/threads',
    role: 'operator',
    operationId: 'getThreads',
    summary: 'The process, its gateway threads, and its executors with the versions loaded on each',
    response: {
      type: 'object',
      required: ['process', 'gateways', 'executors'],
      properties: {
        process: {
          type: 'object',
          properties: {
            pid: { type: 'integer' },
            version: { type: 'string' },
            uptime_seconds: { type: 'integer' },
            rss_bytes: { type: 'integer' },
          },
        },
        gateways: { type: 'array', items: { type: 'object', properties: { name: { type: 'string' } } } },
        executors: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              name: { type: 'string' },
              kind: { type: 'string', enum: ['compute', 'io'] },
              models: {
                type: 'array',
                items: {
                  type: 'object',
                  properties: { model: { type: 'string' }, version: { type: 'string' } },
                },
              },
            },
          },
        },
      },
    },
    handle: ({ services }) => ({ body: threads(services) }),
  },
];
