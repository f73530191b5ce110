import { createHash } from 'node:crypto';
import { type DeadLetter, TopicWriter } from '../../kafka/dead-letters.ts';
import type { FollowedBatch } from '../../kafka/follower.ts';
import type { Lag } from '../../kafka/lag.ts';
import type { View } from '../documents/catalog.ts';
import type { Row } from '../store/online-store.ts';
import { addCount } from './counts.ts';
import { isAway, recordOf } from './records.ts';
import { rowOfObject } from './rows.ts';
import { tombstoneOf, tombstonesIn } from './tombstones.ts';
import { groupOf, tenantOf, topicOf, ViewFollowers, type ViewTopicsParts } from './view-followers.ts';

export interface FeatureTopicsParts extends ViewTopicsParts {
  /** Rejects when the online store cannot be used: the batch comes again. */
  put(tenant: string, view: View, rows: readonly Row[]): Promise<number>;
}

/**
 * Rows of feature views from topics: JSON objects, as POST /push has them by row, or Avro records. At least once; since the
 * newest event time wins, a row that comes again changes nothing. A record without a value deletes what there is of its key.
 * One that is no row of the view is set aside.
 */
export class FeatureTopics {
  private readonly parts: FeatureTopicsParts;
  private readonly followers: ViewFollowers<View>;
  private readonly writer = new TopicWriter();

  constructor(parts: FeatureTopicsParts) {
    this.parts = parts;
    const { kafka, log, kept } = parts;
    this.followers = new ViewFollowers({
      kafka,
      log,
      kept,
      trouble: ({ name }) => `rows of the feature view ${name} cannot be read`,
      take: (view, batch) => this.take(view, batch),
    });
  }

  /** Reads the topics that views name now. Views of aggregates have a reader of their own, see window-topics.ts. */
  follow(): void {
    const wanted = new Map<string, View>();
    for (const view of this.parts.set().views.values())
      if (view.windows === undefined && topicOf(view) !== undefined) wanted.set(groupOf(view, layoutOf(view)), view);
    this.followers.follow(wanted);
  }

  lags(): Lag[] {
    return this.followers.lags();
  }

  async close(): Promise<void> {
    await this.followers.close();
    await this.writer.close();
  }

  private async take(view: View, { topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const now = Date.now();
    const letters: DeadLetter[] = [];
    const rows: Row[] = [];
    for (const message of messages) {
      try {
        const deletes = message.value === null;
        rows.push(
          deletes
            ? await tombstoneOf(view, message, clients, now)
            : rowOfObject(view, await recordOf(clients, message), now),
        );
      } catch (error) {
        if (isAway(error)) throw error;
        letters.push({ message, code: 'invalid_argument', reason: (error as Error).message });
      }
    }
    const kept = await this.parts.put(tenantOf(view), view, rows);
    // Last, since a batch comes again when its rows cannot be kept: poison would be set aside each time.
    await this.writer.setAside(clients, topic, partition, letters);
    const tombstone = tombstonesIn(rows);
    const results = { kept, late: rows.length - tombstone - kept, tombstone, dead_letter: letters.length };
    for (const [result, count] of Object.entries(results)) addCount(this.parts.counts, view.name, result, count);
  }
}

/** Other columns: what the topic has held so far must be read for them. */
function layoutOf({ joinKeys, timestamp, fields }: View): string {
  return createHash('sha256')
    .update(JSON.stringify([joinKeys, timestamp, fields.map(({ name, type, length }) => [name, type, length])]))
    .digest('hex')
    .slice(0, 12);
}
