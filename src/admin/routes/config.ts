import { redact } from '../redact.ts';
import type { AdminRoute } from '../route.ts';
import type { AdminServices } from '../services.ts';

const STATUS = {
  type: 'object',
  required: ['generation', 'problems', 'applied', 'restart_needed'],
  properties: {
    generation: { type: 'integer', description: 'Configurations taken into use so far' },
    problems: { type: 'array', items: { type: 'string' }, description: 'Of the last attempt; empty: it was taken' },
    applied: {
      type: 'array',
      items: { type: 'string' },
      description: 'Sections that the last change brought into force',
    },
    restart_needed: {
      type: 'array',
      items: { type: 'string' },
      description: 'Sections and settings that differ from what is in force, and wait for a restart',
    },
  },
};

function status(reloader: AdminServices['reloader']): object {
  const { generation, problems, applied, restartNeeded } = reloader.status;
  return { generation, problems, applied, restart_needed: restartNeeded };
}

export const configRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/config',
    role: 'operator',
    operationId: 'getConfig',
    summary: 'The configuration in use, defaults filled in and secrets redacted',
    response: { type: 'object' },
    handle: ({ services }) => ({ body: redact(services.config()) as object }),
  },
  {
    method: 'GET',
    path: '/api/v1/config/status',
    role: 'operator',
    operationId: 'getConfigStatus',
    summary: 'How the last reload went',
    response: STATUS,
    handle: ({ services }) => ({ body: status(services.reloader) }),
  },
  {
    method: 'POST',
    path: '/api/v1/config/reload',
    role: 'operator',
    operationId: 'reloadConfig',
    summary:
      'Read the configuration again: all of it is accepted, or none and the problems are listed with 400. The answer says what is in force and what waits for a restart',
    response: STATUS,
    errors: ['failed_precondition'],
    handle: ({ services }) => {
      const { problems } = services.reloader.reload();
      if (problems.length === 0) return { body: status(services.reloader) };
      return {
        status: 400,
        body: { error: problems.join('\n'), code: 'failed_precondition', ...status(services.reloader) },
      };
    },
  },
];
