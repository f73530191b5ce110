import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { type DeadLetter, TopicWriter } from '../../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../../kafka/follower.ts';
import type { FeatureSet, View } from '../documents/catalog.ts';
import { parseExact } from '../documents/values.ts';
import type { Row } from '../store/online-store.ts';
import { rowOfObject } from './rows.ts';

export interface FeatureTopicsParts {
  kafka: KafkaConfig;
  log: Logger;
  set(): FeatureSet;
  /** Rejects when the online store cannot be used: the batch comes again. */
  put(tenant: string, view: View, rows: readonly Row[]): Promise<number>;
}

/**
 * Rows of feature views from topics: JSON objects, as POST /push has them by row. At least once; since the newest event
 * time wins, a row that comes again changes nothing. A record that fits none of the topic's views is set aside.
 */
export class FeatureTopics {
  /** By view, then what became of records. */
  readonly counts = new Map<string, Map<string, number>>();
  private readonly parts: FeatureTopicsParts;
  private readonly follower: TopicFollower;
  private readonly writer = new TopicWriter();

  constructor(parts: FeatureTopicsParts) {
    this.parts = parts;
    this.follower = new TopicFollower({
      kafka: parts.kafka,
      log: parts.log,
      group: 'features',
      trouble: 'features cannot be read from topics',
      take: (batch) => this.take(batch),
    });
  }

  /** Reads the topics that views name now. */
  follow(): void {
    const topics = [...this.parts.set().views.values()].flatMap((view) => topicOf(view) ?? []);
    this.follower.follow(topics);
  }

  get connected(): boolean {
    return this.follower.connected;
  }

  async close(): Promise<void> {
    await this.follower.close();
    await this.writer.close();
  }

  private async take({ topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const views = [...this.parts.set().views.values()].filter((view) => topicOf(view) === topic);
    const now = Date.now();
    const letters: DeadLetter[] = [];
    const rows = views.map((): Row[] => []);
    for (const message of messages) {
      try {
        const value = message.value === null ? undefined : parse(message.value);
        for (const [i, view] of views.entries()) rows[i].push(rowOfObject(view, value, now));
      } catch (error) {
        // One of several views may have got it; then it has it twice, which does no harm.
        letters.push({ message, code: 'invalid_argument', reason: (error as Error).message });
      }
    }
    await this.writer.setAside(clients, topic, partition, letters);
    for (const [i, view] of views.entries()) {
      const kept = await this.parts.put(view.document.spec.source.kafka?.tenant ?? 'default', view, rows[i]);
      this.count(view.name, 'kept', kept);
      this.count(view.name, 'late', rows[i].length - kept);
      this.count(view.name, 'dead_letter', letters.length);
    }
  }

  private count(view: string, result: string, count: number): void {
    let counts = this.counts.get(view);
    if (counts === undefined) {
      counts = new Map();
      this.counts.set(view, counts);
    }
    if (count > 0) counts.set(result, (counts.get(result) ?? 0) + count);
  }
}

function topicOf(view: View): string | undefined {
  return view.document.spec.source.kafka?.topic;
}

function parse(value: Buffer): unknown {
  try {
    return parseExact(value.toString('utf8'));
  } catch (error) {
    throw new Error(`the record is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
}
