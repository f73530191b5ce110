import { keyBefore, keyPage } from '../../registry/models/pages.ts';
import { SIGNATURE_HEADERS } from '../../training/triggers/signature.ts';
import { asObject } from '../body.ts';
import { PAGING_QUERY, page, readLimit } from '../paging.ts';
import type { AdminRoute } from '../route.ts';
import { textOf } from './pipelines.ts';

const TRIGGER = {
  type: 'object',
  required: ['name', 'pipeline', 'cause', 'enabled', 'pending', 'running', 'last_run', 'next_due'],
  properties: {
    name: { type: 'string' },
    pipeline: { type: 'string' },
    cause: { type: 'string' },
    enabled: { type: 'boolean' },
    pending: { type: ['string', 'null'], description: 'Why it would fire, were it let' },
    running: { type: 'boolean' },
    last_run: { type: ['string', 'null'] },
    next_due: { type: ['integer', 'null'], description: 'Schedules: milliseconds since 1970' },
  },
};
const FIRING = {
  type: 'object',
  required: ['at', 'outcome', 'reason', 'run'],
  properties: {
    at: { type: 'integer' },
    outcome: { type: 'string', enum: ['fired', 'waiting', 'refused', 'failed'] },
    reason: { type: 'string' },
    run: { type: 'string', description: 'The run it started; empty: none' },
  },
};

/** What starts pipelines by itself. */
export const triggerRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/triggers',
    role: 'operator',
    operationId: 'listTriggers',
    summary: 'Every trigger and where it stands, by name',
    query: PAGING_QUERY,
    response: {
      type: 'object',
      required: ['triggers'],
      properties: { triggers: { type: 'array', items: TRIGGER }, next_page_token: { type: 'string' } },
    },
    errors: ['unavailable'],
    handle: async ({ services, query }) => {
      const { rows, next } = page(await (await services.pipelines.triggers()).list(), ({ name }) => name, query);
      return { body: { triggers: rows, ...(next === undefined ? {} : { next_page_token: next }) } };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/triggers/{name}',
    role: 'operator',
    operationId: 'getTrigger',
    summary: 'One trigger',
    response: TRIGGER,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params }) => ({ body: await (await services.pipelines.triggers()).get(params.name) }),
  },
  {
    method: 'GET',
    path: '/api/v1/triggers/{name}/firings',
    role: 'operator',
    operationId: 'listTriggerFirings',
    summary: 'What a trigger did and why, newest first: runs it started, causes that wait or were let go',
    query: PAGING_QUERY,
    response: {
      type: 'object',
      required: ['firings'],
      properties: { firings: { type: 'array', items: FIRING }, next_page_token: { type: 'string' } },
    },
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, query }) => {
      const limit = readLimit(query);
      const triggers = await services.pipelines.triggers();
      const found = await triggers.firings(params.name, keyBefore(query.get('page_token') ?? ''), limit + 1);
      const { rows, next } = keyPage(found, limit, (row) => row.key);
      return { body: { firings: rows.map(({ key: _, ...firing }) => firing), ...next } };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/triggers/{name}/fire',
    role: 'operator',
    operationId: 'fireTrigger',
    summary: 'Give a trigger a cause by hand; debounce, single flight, cooldown and budget hold',
    body: { type: 'object', additionalProperties: false, properties: { reason: { type: 'string', maxLength: 2000 } } },
    response: TRIGGER,
    errors: ['not_found', 'unavailable'],
    handle: async ({ services, params, body, actor }) => {
      const reason = textOf(body === undefined ? {} : asObject(body, 'the body', ['reason']), 'reason');
      return { body: await (await services.pipelines.triggers()).fire(params.name, { actor, reason }) };
    },
  },
  {
    method: 'POST',
    path: '/api/v1/triggers/{name}/webhook',
    // The signature proves who asks: CI systems have no admin token.
    role: 'signed',
    operationId: 'triggerWebhook',
    summary: 'A signed request of a CI system, or one that brings a business figure as {"value": …}',
    body: { type: 'object' },
    headers: SIGNATURE_HEADERS,
    response: TRIGGER,
    errors: ['not_found', 'failed_precondition', 'conflict', 'unavailable'],
    handle: async ({ services, params, bytes, header }) => {
      // The bytes are the connection's, and are gone after the first wait.
      const body = Buffer.from(bytes);
      return { body: await (await services.pipelines.triggers()).webhook(params.name, { header, body }) };
    },
  },
];
