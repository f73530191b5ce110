import type { Logger } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { TopicWriter } from '../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../kafka/follower.ts';
import type { Lag } from '../kafka/lag.ts';
import { type TakeEvents, TOMBSTONE, takeBatch } from './routes/feedback-batch.ts';

export interface LabelTopicParts {
  kafka: KafkaConfig;
  log: Logger;
  take: TakeEvents;
}

/**
 * Labels and rewards from a topic, taken as feedback over HTTP is: joined with decisions and written to the event log. At
 * least once: offsets are committed behind what the event log keeps. A record with an event that is none is set aside.
 */
export class LabelTopic {
  readonly counts = { taken: 0, deadLetters: 0, tombstones: 0 };
  private readonly parts: LabelTopicParts;
  private readonly follower: TopicFollower;
  private readonly writer = new TopicWriter();

  constructor(parts: LabelTopicParts) {
    this.parts = parts;
    const { kafka, log } = parts;
    const trouble = 'labels cannot be read from their topic';
    this.follower = new TopicFollower({ kafka, log, group: 'labels', trouble, take: (batch) => this.take(batch) });
  }

  start(): void {
    const { labels } = this.parts.kafka;
    if (labels !== undefined) this.follower.follow([labels]);
  }

  lags(): Lag[] {
    return this.follower.lags();
  }

  async close(): Promise<void> {
    await this.follower.close();
    await this.writer.close();
  }

  private async take({ topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const { results, letters } = await takeBatch(topic, partition, messages, clients, this.parts.take);
    await this.writer.setAside(clients, topic, partition, letters);
    const tombstones = results.filter((result) => result === TOMBSTONE).length;
    this.counts.taken += messages.length - letters.length - tombstones;
    this.counts.tombstones += tombstones;
    this.counts.deadLetters += letters.length;
  }
}
