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
  /** What became of records, to be added to. */
  counts: ViewCounts;
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
  readonly counts: ViewCounts;
  private readonly parts: FeatureTopicsParts;
  private readonly follower: TopicFollower;
  private readonly writer = new TopicWriter();

  constructor(parts: FeatureTopicsParts) {
    this.parts = parts;
    this.counts = parts.counts;
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
    const topics = rowViews(this.parts.set()).flatMap((view) => topicOf(view) ?? []);
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
    const views = rowViews(this.parts.set()).filter((view) => topicOf(view) === topic);
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
      addCount(this.counts, view.name, 'kept', kept);
      addCount(this.counts, view.name, 'late', rows[i].length - kept);
      addCount(this.counts, view.name, 'dead_letter', letters.length);
    }
  }
}

export type ViewCounts = Map<string, Map<string, number>>;

export function addCount(of: ViewCounts, view: string, result: string, count: number): void {
  const counts = of.get(view) ?? new Map<string, number>();
  of.set(view, counts);
  if (count > 0) counts.set(result, (counts.get(result) ?? 0) + count);
}

/** Views of aggregates have followers of their own, see window-topics.ts. */
function rowViews({ views }: FeatureSet): View[] {
  return [...views.values()].filter(({ windows }) => windows === undefined);
}

export function topicOf(view: View): string | undefined {
  return view.document.spec.source.kafka?.topic;
}

/** Throws when it is no JSON. */
export function parse(value: Buffer): unknown {
  try {
    return parseExact(value.toString('utf8'));
  } catch (error) {
    throw new Error(`the record is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
}
