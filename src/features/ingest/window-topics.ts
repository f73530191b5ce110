import { type DeadLetter, TopicWriter } from '../../kafka/dead-letters.ts';
import type { FollowedBatch } from '../../kafka/follower.ts';
import type { Lag } from '../../kafka/lag.ts';
import type { IngestCounts } from '../store/online-store.ts';
import { AheadError, eventOfObject, hasWindows, type WindowView } from '../windows/events.ts';
import type { WindowEvent } from '../windows/state.ts';
import { addCount } from './counts.ts';
import { isAway, recordOf } from './records.ts';
import { groupOf, tenantOf, topicOf, ViewFollowers, type ViewTopicsParts } from './view-followers.ts';

export interface WindowTopicsParts extends ViewTopicsParts {
  /** Rejects when the online store cannot be used: the batch comes again. */
  ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): Promise<IngestCounts>;
}

/**
 * Events of views with aggregates. An event's arrival is its record's timestamp, so that it is late, or not, whenever it is
 * read.
 */
export class WindowTopics {
  private readonly parts: WindowTopicsParts;
  private readonly followers: ViewFollowers<WindowView>;
  private readonly writer = new TopicWriter();

  constructor(parts: WindowTopicsParts) {
    this.parts = parts;
    const { kafka, log, kept } = parts;
    this.followers = new ViewFollowers({
      kafka,
      log,
      kept,
      trouble: ({ name }) => `events of the feature view ${name} cannot be read`,
      take: (view, batch) => this.take(view, batch),
    });
  }

  /** Reads the topics that views name now. */
  follow(): void {
    const wanted = new Map<string, WindowView>();
    for (const view of this.parts.set().views.values())
      if (hasWindows(view) && topicOf(view) !== undefined) wanted.set(groupOf(view, view.windows.layout), view);
    this.followers.follow(wanted);
  }

  lags(): Lag[] {
    return this.followers.lags();
  }

  async close(): Promise<void> {
    await this.followers.close();
    await this.writer.close();
  }

  private async take(view: WindowView, { topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const now = Date.now();
    const letters: DeadLetter[] = [];
    const events: WindowEvent[] = [];
    let ahead = 0;
    let tombstone = 0;
    for (const message of messages) {
      // Events are not kept by their record's key.
      if (message.value === null) {
        tombstone++;
        continue;
      }
      try {
        const event = eventOfObject(view, await recordOf(clients, message), Number(message.timestamp), now);
        event.origin = { source: `${topic}/${partition}`, offset: Number(message.offset) };
        events.push(event);
      } catch (error) {
        if (isAway(error)) throw error;
        if (error instanceof AheadError) ahead++;
        letters.push({ message, code: 'invalid_argument', reason: (error as Error).message });
      }
    }
    const { kept, late, duplicate } = await this.parts.ingest(tenantOf(view), view, events);
    // Last, as those of rows: see topics.ts.
    await this.writer.setAside(clients, topic, partition, letters);
    const results = { kept, late, duplicate, ahead, tombstone, dead_letter: letters.length - ahead };
    for (const [result, count] of Object.entries(results)) addCount(this.parts.counts, view.name, result, count);
  }
}
