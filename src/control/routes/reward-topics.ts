import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { TopicWriter } from '../../kafka/dead-letters.ts';
import { type FollowedBatch, TopicFollower } from '../../kafka/follower.ts';
import type { Lag } from '../../kafka/lag.ts';
import { escapeLabel } from '../../telemetry/prometheus.ts';
import { type TakeEvents, takeBatch } from './feedback-batch.ts';

export interface RewardTopicsDependencies {
  kafka: KafkaConfig;
  /** Rejects when it cannot be told now whose they are, or the event log cannot keep them: they come again. */
  take: TakeEvents;
  log: Logger;
}

/**
 * Rewards from topics. One consumer group for all gateways with the same `kafka.clientId`; offsets are committed behind
 * what was taken in and written to the event log, so a crash brings records again and never loses one. A record that is
 * wrong is counted and set aside. The brokers may be away for as long as they like.
 */
export class RewardTopics {
  /** By topic (as routes name it), then result. */
  readonly counts = new Map<string, Map<string, number>>();
  private readonly dependencies: RewardTopicsDependencies;
  private readonly follower: TopicFollower;
  private readonly writer = new TopicWriter();

  constructor(dependencies: RewardTopicsDependencies) {
    this.dependencies = dependencies;
    const { kafka, log } = dependencies;
    const trouble = 'rewards cannot be read from topics';
    this.follower = new TopicFollower({ kafka, log, group: 'rewards', trouble, take: (batch) => this.take(batch) });
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

  lags(): Lag[] {
    return this.follower.lags();
  }

  async close(): Promise<void> {
    await this.follower.close();
    await this.writer.close();
  }

  /** One batch. Rejects to have it again. */
  private async take({ topic, partition, messages, clients }: FollowedBatch): Promise<void> {
    const { results, letters } = await takeBatch(topic, partition, messages, clients, this.dependencies.take);
    await this.writer.setAside(clients, topic, partition, letters);
    // Counted once they are taken in, so that a batch that comes again is not counted twice.
    const counts = this.counts.get(topic) ?? new Map<string, number>();
    for (const result of results) counts.set(result, (counts.get(result) ?? 0) + 1);
    this.counts.set(topic, counts);
  }
}

/** The Prometheus text of what topics brought. */
export function renderRewardTopics(counts: ReadonlyMap<string, ReadonlyMap<string, number>>): string {
  const name = 'switchyard_reward_topic_events_total';
  const lines = [`# HELP ${name} Rewards from topics, by what became of them`, `# TYPE ${name} counter`];
  for (const [topic, results] of counts)
    for (const [result, count] of results)
      lines.push(`${name}{topic="${escapeLabel(topic)}",result="${result}"} ${count}`);
  return `${lines.join('\n')}\n`;
}
