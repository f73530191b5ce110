import type { RegistryDatabase } from '../database/database.ts';
import type { RegistryEvent, RegistryEvents } from '../events.ts';
import { ALL_EVENTS } from './events.ts';
import { enqueueEvents } from './queue.ts';

interface BridgeParts {
  database: RegistryDatabase;
  events: RegistryEvents;
  wake(): void;
  onError(error: unknown): void;
}

/**
 * Queues for webhooks what other parts of the program tell only by `events`: gates, promotions, triggers. What a write of the
 * registry tells has been queued in that write (see commit.ts) and passes by. Events are queued in their order, each in a
 * write of its own: a kill between what happened and that write loses the message.
 */
export class WebhookBridge {
  private readonly parts: BridgeParts;
  private readonly unsubscribe: () => void;
  private last: Promise<void> = Promise.resolve();

  constructor(parts: BridgeParts) {
    this.parts = parts;
    const known = new Set(ALL_EVENTS);
    this.unsubscribe = parts.events.subscribe((event) => {
      if (event.queued || !known.has(event.type)) return;
      this.last = this.last.then(() => this.enqueue(event)).catch(parts.onError);
    });
  }

  private async enqueue({ type, data, at }: RegistryEvent): Promise<void> {
    const [entity, action] = type.split('.');
    const happening = { entity, action, data };
    if (await this.parts.database.write((db) => enqueueEvents(db, [happening], at))) this.parts.wake();
  }

  /** Waits for what was told before. */
  async close(): Promise<void> {
    this.unsubscribe();
    await this.last;
  }
}
