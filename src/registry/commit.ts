import type { Db, RegistryDatabase } from './database/database.ts';
import type { RegistryEvents } from './events.ts';
import type { WebhookEvent } from './webhooks/events.ts';
import { enqueueEvent } from './webhooks/queue.ts';

export interface CommitContext {
  database: RegistryDatabase;
  events: RegistryEvents;
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
  context: CommitContext,
  change: (db: Db, now: number, note: (happening: Happening) => void) => Promise<T>,
): Promise<T> {
  const now = context.now();
  let happenings: Happening[] = [];
  let queued = false;
  const result = await context.database.write(async (db) => {
    happenings = [];
    queued = false;
    const value = await change(db, now, (happening) => happenings.push(happening));
    for (const happening of happenings) if (await enqueueEvent(db, happening, happening.data, now)) queued = true;
    return value;
  });
  for (const { entity, action, data } of happenings) context.events.emit(`${entity}.${action}`, data, { queued: true });
  if (queued) context.wakeWebhooks();
  return result;
}
