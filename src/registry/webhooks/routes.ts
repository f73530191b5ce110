import { z } from 'zod';
import { toSwitchyardError } from '../../shared/errors.ts';
import type { RegistryDatabase } from '../database/database.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';
import { keyBefore, keyPage, pageFields } from '../models/pages.ts';
import { int64, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { exampleData, isMlflowEvent, readEvent, type WebhookEvent } from './events.ts';
import { checkWebhookUrl, type WebhookPolicy } from './guard.ts';
import { deliveryBody } from './queue.ts';
import { deliver } from './send.ts';
import {
  checkWebhookName,
  createWebhook,
  deleteWebhook,
  getWebhook,
  listWebhooks,
  showWebhook,
  updateWebhook,
  type Webhook,
  type WebhookFields,
} from './store.ts';

export interface WebhookContext {
  database: RegistryDatabase;
  policy: WebhookPolicy;
  now(): number;
}

const MAX_RESULTS = 1000;

const fields = {
  name: text,
  url: text,
  events: z.array(z.unknown()).nullish(),
  description: text,
  secret: text,
  status: z.enum(['ACTIVE', 'DISABLED']).nullish(),
};
const byId = { webhook_id: required };

/** MLflow's webhook calls, and the same under the registry's own API with its own events. */
export function webhookRoutes(context: WebhookContext): RestRoute[] {
  return [
    ...crudRoutes(context, { path: '/api/2.0/mlflow/webhooks', prefix: 'mlflow', mlflowOnly: true }),
    ...crudRoutes(context, { path: '/api/v1/registry/webhooks', prefix: 'registry', mlflowOnly: false }),
    deliveriesRoute(context),
  ];
}

function crudRoutes(
  { database, policy, now }: WebhookContext,
  { path, prefix, mlflowOnly }: { path: string; prefix: string; mlflowOnly: boolean },
): RestRoute[] {
  const shownAs = (webhook: Webhook): object => ({ webhook: showWebhook(webhook, mlflowOnly) });
  const find = (id: string): Promise<Webhook> =>
    database.read(async (db) => {
      const webhook = await getWebhook(db, id);
      if (mlflowOnly && !webhook.events.some(isMlflowEvent))
        throw doesNotExist(`Webhook with ID ${shown(id)} not found.`);
      return webhook;
    });
  return [
    jsonRoute({
      method: 'POST',
      path,
      operationId: `${prefix}CreateWebhook`,
      summary: 'Have events posted to a URL',
      request: z.object({ ...fields, name: required, url: required, events: z.array(z.unknown()) }),
      handle: async (request) => {
        const wish = readFields(request, policy);
        const webhook = await database.write((db) =>
          createWebhook(db, now(), {
            name: request.name,
            url: request.url,
            events: wish.events ?? [],
            description: wish.description ?? '',
            secret: wish.secret ?? '',
            status: wish.status ?? 'ACTIVE',
          }),
        );
        return shownAs(webhook);
      },
    }),
    jsonRoute({
      method: 'GET',
      path,
      operationId: `${prefix}ListWebhooks`,
      summary: 'Webhooks, newest first',
      request: z.object({ max_results: int64.nullish(), page_token: text }),
      handle: async ({ max_results, page_token }) => {
        const limit = max_results || 100;
        if (limit < 1 || limit > MAX_RESULTS)
          throw invalidParameter(`max_results must be between 1 and ${MAX_RESULTS}.`);
        const offset = readOffset(page_token ?? '');
        const found = await database.read((db) => listWebhooks(db, offset, limit + 1));
        const webhooks = found
          .slice(0, limit)
          .filter((webhook) => !mlflowOnly || webhook.events.some(isMlflowEvent))
          .map((webhook) => showWebhook(webhook, mlflowOnly));
        const next = found.length > limit ? { next_page_token: writeOffset(offset + limit) } : {};
        return { ...(webhooks.length === 0 ? {} : { webhooks }), ...next };
      },
    }),
    jsonRoute({
      method: 'GET',
      path: `${path}/{webhook_id}`,
      operationId: `${prefix}GetWebhook`,
      summary: 'One webhook',
      request: z.object(byId),
      handle: async ({ webhook_id }) => shownAs(await find(webhook_id)),
    }),
    jsonRoute({
      method: 'PATCH',
      path: `${path}/{webhook_id}`,
      operationId: `${prefix}UpdateWebhook`,
      summary: 'Change a webhook; fields left out stay as they are',
      request: z.object({ ...byId, ...fields }),
      handle: async ({ webhook_id, ...request }) => {
        const wish = readFields(request, policy);
        await find(webhook_id);
        return shownAs(await database.write((db) => updateWebhook(db, now(), webhook_id, wish)));
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: `${path}/{webhook_id}`,
      operationId: `${prefix}DeleteWebhook`,
      summary: 'Delete a webhook and its queue',
      request: z.object(byId),
      handle: async ({ webhook_id }) => {
        await find(webhook_id);
        await database.write((db) => deleteWebhook(db, webhook_id));
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: `${path}/{webhook_id}/test`,
      operationId: `${prefix}TestWebhook`,
      summary: 'Send an example event once, now, and tell what came back',
      request: z.object({ ...byId, event: z.unknown().optional() }),
      handle: async ({ webhook_id, event }) => {
        const webhook = await find(webhook_id);
        const chosen = event === undefined || event === null ? webhook.events[0] : readEvent(event, 'event');
        return { result: await testDelivery(webhook, chosen, policy, now()) };
      },
    }),
  ];
}

async function testDelivery(
  webhook: Webhook,
  event: WebhookEvent,
  policy: WebhookPolicy,
  now: number,
): Promise<object> {
  const body = deliveryBody(event, exampleData(event), now);
  const { url, secret } = webhook;
  const result = await deliver({ id: crypto.randomUUID(), url, secret, body }, policy, now);
  if (result.status === 0) return { success: false, error_message: result.error };
  return {
    success: result.status < 400,
    response_status: result.status,
    response_body: result.text,
  };
}

type Given = { [K in keyof typeof fields]?: z.output<(typeof fields)[K]> };

/** What was given, checked. Empty text is as good as absent, except where it clears. */
function readFields(given: Given, policy: WebhookPolicy): Partial<WebhookFields> {
  const wish: Partial<WebhookFields> = {};
  if (given.name) wish.name = checkWebhookName(given.name);
  if (given.url) wish.url = checkUrl(given.url, policy);
  if (given.events && given.events.length > 0)
    wish.events = given.events.map((event, i) => mlflowError(() => readEvent(event, `events[${i}]`)));
  if (typeof given.description === 'string') wish.description = given.description.slice(0, 5000);
  if (typeof given.secret === 'string') wish.secret = given.secret.slice(0, 1000);
  if (given.status) wish.status = given.status;
  return wish;
}

/** What can be known now; where the name leads is checked at each delivery. */
function checkUrl(url: string, policy: WebhookPolicy): string {
  mlflowError(() => checkWebhookUrl(url, policy));
  return url;
}

/** A user's mistake has one code in MLflow's API. */
function mlflowError<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw invalidParameter(toSwitchyardError(error).message);
  }
}

function readOffset(token: string): number {
  if (token === '') return 0;
  const text = Buffer.from(token, 'base64url').toString();
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalidParameter(
    `Invalid value ${shown(token)} for parameter 'page_token' supplied: this server gave out no such token`,
  );
}

function writeOffset(offset: number): string {
  return Buffer.from(String(offset)).toString('base64url');
}

function deliveriesRoute({ database }: WebhookContext): RestRoute {
  return jsonRoute({
    method: 'GET',
    path: '/api/v1/registry/webhooks/{webhook_id}/deliveries',
    operationId: 'registryListDeliveries',
    summary: "A webhook's deliveries of the last week, newest first: pending, delivered or failed, with the reason",
    request: z.object({ ...byId, ...pageFields }),
    handle: ({ webhook_id, limit, page_token }) =>
      database.read(async (db) => {
        await getWebhook(db, webhook_id);
        const found = await db
          .selectFrom('webhook_deliveries')
          .select(['delivery_key', 'delivery_id', 'event', 'at', 'tries', 'due', 'state', 'status', 'error'])
          .where('webhook_id', '=', webhook_id)
          .where('delivery_key', '<', keyBefore(page_token))
          .orderBy('delivery_key', 'desc')
          .limit(limit + 1)
          .execute();
        const { rows, next } = keyPage(found, limit, (row) => row.delivery_key);
        return { deliveries: rows.map(({ delivery_key: _, ...row }) => row), ...next };
      }),
  });
}
