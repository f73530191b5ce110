import type { AdminRoute } from '../route.ts';

const STATUS = { type: 'object', required: ['status'], properties: { status: { type: 'string' } } };

export const healthRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/health/live',
    role: 'public',
    operationId: 'live',
    summary: 'The process runs and its control thread answers',
    response: STATUS,
    handle: () => ({ body: { status: 'live' } }),
  },
  {
    method: 'GET',
    path: '/health/ready',
    role: 'public',
    operationId: 'ready',
    summary: 'Models are loaded and requests are taken; 503 while starting and draining',
    response: STATUS,
    errors: ['unavailable'],
    handle: ({ services }) =>
      services.fleet.ready
        ? { body: { status: 'ready' } }
        : {
            status: 503,
            body: { error: 'the server is starting or draining', code: 'unavailable', status: 'not ready' },
          },
  },
];
