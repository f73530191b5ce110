import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { type FollowedBatch, TopicFollower } from '../../kafka/follower.ts';
import { escapeLabel } from '../../telemetry/prometheus.ts';
import type { EventResult } from './feedback.ts';
import { readRecord, type TopicResult } from './reward-record.ts';

export interface RewardTopicsDependencies {
  kafka: KafkaConfig;
  /** Results of events as feedback has them. Rejects when it cannot be told now whose they are: they come again. */
  take(events: readonly unknown[]): Promise<EventResult[]>;
  log: Logger;
}

/**
 * Rewards from topics. One consumer group for all gateways with the same `kafka.clientId`; offsets are committed behind
 * what was taken in, so a crash brings records again and never loses one. What is wrong with a record is counted, and
 * the next one is read. The brokers may be away for as long as they like.
 */
export class RewardTopics {
  /** By topic (as routes name it), then result. */
  readonly counts = new Map<string, Map<TopicResult, number>>();
  private readonly dependencies: RewardTopicsDependencies;
  private readonly follower: TopicFollower;

  constructor(dependencies: RewardTopicsDependencies) {
    this.dependencies = dependencies;
    const { kafka, log } = dependencies;
    const trouble = 'rewards cannot be read from topics';
    const take = ({ topic, partition, messages }: FollowedBatch) => this.take(topic, { partition, messages });
    this.follower = new TopicFollower({ kafka, log, group: 'rewards', trouble, take });
  }

  /** The topics that routes name from now on. */
  follow(names: Iterable<string>): void {
    this.follower.follow(names);
    for (const topic of this.follower.following) if (!this.counts.has(topic)) this.counts.set(topic, new Map());
  }

  describe(): { topics: readonly string[]; connected: boolean; problem: string; events: object } {
    const events = Object.fromEntries([...this.counts].map(([topic, counts]) => [topic, Object.fromEntries(counts)]));
    const { following, connected, problem } = this.follower;
    return { topics: following, connected, problem, events };
  }

  close(): Promise<void> {
    return this.follower.close();
  }

  /** One batch. Rejects to have it again. */
  private async take(
    topic: string,
    { partition, messages }: Pick<FollowedBatch, 'partition' | 'messages'>,
  ): Promise<void> {
    const events: unknown[] = [];
    const wrong: TopicResult[] = [];
    for (const { value, offset } of messages) {
      const record = readRecord(value, `${topic}/${partition}/${offset}`);
      if (typeof record === 'string') wrong.push(record);
      else events.push(...record);
    }
    const results: TopicResult[] = [...wrong, ...(await this.dependencies.take(events))];
    // Counted once they are taken in, so that a batch that comes again is not counted twice.
    const counts = this.counts.get(topic) ?? new Map<TopicResult, number>();
    for (const result of results) counts.set(result, (counts.get(result) ?? 0) + 1);
    this.counts.set(topic, counts);
  }
}

/** The Prometheus text of what topics brought. */
export function renderRewardTopics(counts: ReadonlyMap<string, ReadonlyMap<TopicResult, number>>): string {
  const name = 'switchyard_reward_topic_events_total';
  const lines = [`# HELP ${name} Rewards from topics, by what became of them`, `# TYPE ${name} counter`];
  for (const [topic, results] of counts)
    for (const [result, count] of results)
      lines.push(`${name}{topic="${escapeLabel(topic)}",result="${result}"} ${count}`);
  return `${lines.join('\n')}\n`;
}
