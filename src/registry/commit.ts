import type { Db, RegistryDatabase } from './database/database.ts';
import type { RegistryEvents } from './events.ts';
import { enqueueEvents, type Happening } from './webhooks/queue.ts';

export type { Happening } from './webhooks/queue.ts';

export interface CommitContext {
  database: RegistryDatabase;
  events: RegistryEvents;
  /** Milliseconds since 1970. */
  now(): number;
  /** Webhook deliveries may be due. */
  wakeWebhooks(): void;
}

/** Tells what a write makes true. */
export type Note = (happening: Happening) => void;

/** What a write gives back, and what it makes true for webhooks and listeners. */
export interface Change<T> {
  value: T;
  happenings: readonly Happening[];
}

/**
 * One write and what it tells the world: deliveries are queued in the same commit, listeners in this process hear of it
 * after.
 */
export async function commit<T>(
  context: CommitContext,
  change: (db: Db, now: number, note: Note) => Promise<T>,
): Promise<T> {
  const now = context.now();
  const { queued, ...changed } = await context.database.write(async (db) => {
    const happenings: Happening[] = [];
    const value = await change(db, now, (happening) => happenings.push(happening));
    return { value, happenings, queued: await enqueueEvents(db, happenings, now) };
  });
  return told(context, changed, queued);
}

/** As commit, for a kind of write that comes often (see `writeShared`): `change` makes those of one commit together. */
export function sharedCommit<Item, T>(
  context: CommitContext,
  change: (db: Db, items: readonly Item[]) => Promise<Change<T>[]>,
): (item: Item) => Promise<T> {
  const kind = {
    run: async (db: Db, items: readonly Item[]) => {
      const changes = await change(db, items);
      const happenings = changes.flatMap((made) => made.happenings);
      const queued = await enqueueEvents(db, happenings, context.now());
      return changes.map((made) => ({ made, queued }));
    },
  };
  return async (item) => {
    const { made, queued } = await context.database.writeShared(kind, item);
    return told(context, made, queued);
  };
}

/** Tells of what was committed. */
function told<T>(context: CommitContext, { value, happenings }: Change<T>, queued: boolean): T {
  for (const { entity, action, data } of happenings) context.events.emit(`${entity}.${action}`, data);
  if (queued) context.wakeWebhooks();
  return value;
}
