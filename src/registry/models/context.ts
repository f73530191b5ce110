import type { Db, RegistryDatabase } from '../database/database.ts';
import type { RegistryEvents } from '../events.ts';
import type { WebhookEvent } from '../webhooks/events.ts';
import { enqueueEvent } from '../webhooks/queue.ts';
import type { AliasPolicy } from './aliases.ts';

/** What the model half works with. */
export interface ModelsContext {
  database: RegistryDatabase;
  events: RegistryEvents;
  policy: AliasPolicy;
  /** Milliseconds since 1970. */
  now(): number;
  /** Webhook deliveries may be due. */
  wakeWebhooks(): void;
}

/** Something a write makes true, for webhooks and listeners. */
export interface Happening extends WebhookEvent {
  data: Record<string, unknown>;
}

/**
 * One write and what it tells the world: deliveries are queued in the same commit, listeners in this process hear of it
 * after.
 */
export async function commit<T>(
  context: ModelsContext,
  change: (db: Db, now: number, note: (happening: Happening) => void) => Promise<T>,
): Promise<T> {
  const now = context.now();
  let happenings: Happening[] = [];
  const result = await context.database.write(async (db) => {
    happenings = [];
    const value = await change(db, now, (happening) => happenings.push(happening));
    for (const happening of happenings) await enqueueEvent(db, happening, happening.data, now);
    return value;
  });
  for (const { entity, action, data } of happenings) context.events.emit(`${entity}.${action}`, data);
  if (happenings.length > 0) context.wakeWebhooks();
  return result;
}
