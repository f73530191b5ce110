import { randomUUID } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { Db } from '../database/database.ts';
import type { WebhookTables } from '../database/tables/models.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { isMlflowEvent, type WebhookEvent, writeEvent } from './events.ts';

type Row = Selectable<WebhookTables['webhooks']>;

export interface Webhook extends Row {
  events: WebhookEvent[];
}

export interface WebhookFields {
  name: string;
  url: string;
  events: readonly WebhookEvent[];
  description: string;
  secret: string;
  status: 'ACTIVE' | 'DISABLED';
}

const MAX_EVENT_ROWS = 64;

/** Throws INVALID_PARAMETER_VALUE for a name that MLflow would refuse too. */
export function checkWebhookName(name: string): string {
  if (/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(name)) return name;
  throw invalidParameter(
    `Webhook name ${shown(name)} is invalid. It must start and end with a letter or digit, be at most 63 characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).`,
  );
}

export async function createWebhook(db: Db, now: number, fields: WebhookFields): Promise<Webhook> {
  const { events, ...rest } = fields;
  const row = { ...rest, webhook_id: randomUUID(), creation_time: now, last_updated_time: now };
  await db.insertInto('webhooks').values(row).execute();
  await putEvents(db, row.webhook_id, events);
  return { ...row, events: [...events] };
}

async function putEvents(db: Db, id: string, events: readonly WebhookEvent[]): Promise<void> {
  const names = new Set(events.map(({ entity, action }) => `${entity}.${action}`));
  if (names.size === 0) throw invalidParameter("Missing value for required parameter 'events': name at least one");
  if (names.size > MAX_EVENT_ROWS) throw invalidParameter(`'events' names more than ${MAX_EVENT_ROWS} events`);
  await db.deleteFrom('webhook_events').where('webhook_id', '=', id).execute();
  await db
    .insertInto('webhook_events')
    .values([...names].map((event) => ({ webhook_id: id, event })))
    .execute();
}

export async function updateWebhook(db: Db, now: number, id: string, fields: Partial<WebhookFields>): Promise<Webhook> {
  const { events, ...rest } = fields;
  const { numUpdatedRows } = await db
    .updateTable('webhooks')
    .set({ ...rest, last_updated_time: now })
    .where('webhook_id', '=', id)
    .executeTakeFirst();
  if (Number(numUpdatedRows) === 0) throw missing(id);
  if (events !== undefined) await putEvents(db, id, events);
  return getWebhook(db, id);
}

/** Its deliveries go with it: their secret is gone. */
export async function deleteWebhook(db: Db, id: string): Promise<void> {
  const { numDeletedRows } = await db.deleteFrom('webhooks').where('webhook_id', '=', id).executeTakeFirst();
  if (Number(numDeletedRows) === 0) throw missing(id);
  await db.deleteFrom('webhook_events').where('webhook_id', '=', id).execute();
  await db.deleteFrom('webhook_deliveries').where('webhook_id', '=', id).execute();
}

function missing(id: string): Error {
  return doesNotExist(`Webhook with ID ${shown(id)} not found.`);
}

export async function getWebhook(db: Db, id: string): Promise<Webhook> {
  const row = await db.selectFrom('webhooks').selectAll().where('webhook_id', '=', id).executeTakeFirst();
  if (row === undefined) throw missing(id);
  const [webhook] = await withEvents(db, [row]);
  return webhook;
}

/** Newest first, from a row number on. */
export async function listWebhooks(db: Db, offset: number, limit: number): Promise<Webhook[]> {
  const rows = await db
    .selectFrom('webhooks')
    .selectAll()
    .orderBy('creation_time', 'desc')
    .orderBy('webhook_id')
    .offset(offset)
    .limit(limit)
    .execute();
  return withEvents(db, rows);
}

async function withEvents(db: Db, rows: readonly Row[]): Promise<Webhook[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.webhook_id);
  const found = await db
    .selectFrom('webhook_events')
    .selectAll()
    .where('webhook_id', 'in', ids)
    .orderBy('event')
    .execute();
  const events = groupBy(found, (event) => event.webhook_id);
  return rows.map((row) => ({
    ...row,
    events: (events.get(row.webhook_id) ?? []).map(({ event }) => {
      const [entity, action] = event.split('.');
      return { entity, action };
    }),
  }));
}

/**
 * As MLflow's JSON shows it; the secret is never shown. MLflow's clients cannot read an event that they do not know, so
 * they see those of theirs (`mlflowOnly`).
 */
export function showWebhook(webhook: Webhook, mlflowOnly: boolean): object {
  const { webhook_id, name, description, url, status, creation_time, last_updated_time } = webhook;
  return {
    webhook_id,
    name,
    ...(description === '' ? {} : { description }),
    url,
    events: webhook.events.filter((event) => !mlflowOnly || isMlflowEvent(event)).map(writeEvent),
    status,
    creation_timestamp: creation_time,
    last_updated_timestamp: last_updated_time,
  };
}
