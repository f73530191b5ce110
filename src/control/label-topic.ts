import type { Logger } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { type DeadLetter, TopicWriter } from '../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../kafka/follower.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { readRecord } from './routes/reward-record.ts';

export interface LabelTopicParts {
  kafka: KafkaConfig;
  log: Logger;
  /** As POST /switchyard/v1/feedback is answered. Rejects with invalid_argument for what it can never take. */
  feedback(body: unknown): Promise<object>;
}

/**
 * Labels and rewards from a topic, taken as feedback over HTTP is: joined with decisions and written to the event log. At
 * least once; a record that is no feedback is set aside.
 */
export class LabelTopic {
  readonly counts = { taken: 0, deadLetters: 0 };
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

  async close(): Promise<void> {
    await this.follower.close();
    await this.writer.close();
  }

  private async take({ topic, partition, messages, clients, payload }: FollowedBatch): Promise<void> {
    const letters: DeadLetter[] = [];
    for (const message of messages) {
      const events = readRecord(message.value, `${topic}/${partition}/${message.offset}`);
      if (typeof events === 'string') {
        letters.push({ message, code: 'invalid_argument', reason: `the record is no feedback: ${events}` });
        continue;
      }
      try {
        await this.parts.feedback({ events });
      } catch (error) {
        if (!(error instanceof SwitchyardError) || error.code !== 'invalid_argument') throw error;
        letters.push({ message, code: error.code, reason: error.message });
      }
      await payload.heartbeat();
    }
    await this.writer.setAside(clients, topic, partition, letters);
    this.counts.taken += messages.length - letters.length;
    this.counts.deadLetters += letters.length;
  }
}
