import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch, Consumer } from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from '../../kafka/client.ts';
import { escapeLabel } from '../../telemetry/prometheus.ts';
import type { EventResult } from './feedback.ts';
import { readRecord, type TopicResult } from './reward-record.ts';

export interface RewardTopicsDependencies {
  kafka: KafkaConfig;
  /** Results of events as feedback has them. Rejects when it cannot be told now whose they are: they come again. */
  take(events: readonly unknown[]): Promise<EventResult[]>;
  log: Logger;
}

/** Between two attempts to reach the brokers. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 10_000;
/** A leaving consumer that gets no answer is let go. */
const LEAVE_MS = 3000;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Rewards from topics. One consumer group for all gateways with the same `kafka.clientId`; offsets are committed behind
 * what was taken in, so a crash brings records again and never loses one. What is wrong with a record is counted, and
 * the next one is read. The brokers may be away for as long as they like.
 */
export class RewardTopics {
  /** By topic (as routes name it), then result. */
  readonly counts = new Map<string, Map<TopicResult, number>>();
  private readonly dependencies: RewardTopicsDependencies;
  private topics: readonly string[] = [];
  private stopping = new AbortController();
  /** Consumers run one after the other. */
  private running: Promise<void> = Promise.resolve();
  private connected = false;
  private problem = '';

  constructor(dependencies: RewardTopicsDependencies) {
    this.dependencies = dependencies;
  }

  /** The topics that routes name from now on. */
  follow(names: Iterable<string>): void {
    const topics = [...new Set(names)].sort();
    if (topics.join('\n') === this.topics.join('\n')) return;
    this.topics = topics;
    this.stopping.abort();
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    for (const topic of topics) if (!this.counts.has(topic)) this.counts.set(topic, new Map());
    this.running = this.running.then(() => this.consume(topics, signal));
  }

  describe(): { topics: readonly string[]; connected: boolean; problem: string; events: object } {
    const events = Object.fromEntries([...this.counts].map(([topic, counts]) => [topic, Object.fromEntries(counts)]));
    return { topics: this.topics, connected: this.connected, problem: this.problem, events };
  }

  async close(): Promise<void> {
    this.topics = [];
    this.stopping.abort();
    await this.running;
  }

  /** Until it is aborted. Never rejects. */
  private async consume(topics: readonly string[], signal: AbortSignal): Promise<void> {
    if (topics.length === 0) return;
    for (let delay = FIRST_DELAY_MS; !signal.aborted; delay = Math.min(2 * delay, MAX_DELAY_MS)) {
      let consumer: Consumer | undefined;
      try {
        const clients = await kafkaClients(this.dependencies.kafka, this.dependencies.log);
        consumer = clients.consumer('rewards', { maxBytes: MAX_BYTES, maxBytesPerPartition: MAX_BYTES });
        await this.session(clients, consumer, topics, signal, () => {
          delay = FIRST_DELAY_MS;
        });
      } catch (error) {
        this.problem = (error as Error).message;
        this.dependencies.log.warn(
          { topics, reason: this.problem },
          'rewards cannot be read from topics; it is tried again',
        );
      } finally {
        this.connected = false;
        await leave(consumer);
      }
      await sleep(delay, undefined, { signal }).catch(() => {});
    }
  }

  /** One consumer's life. Resolves when it is aborted, rejects when the consumer gives up. */
  private async session(
    clients: KafkaClients,
    consumer: Consumer,
    topics: readonly string[],
    signal: AbortSignal,
    onJoined: () => void,
  ): Promise<void> {
    const names = new Map(topics.map((topic) => [clients.topic(topic), topic]));
    await consumer.connect();
    // A group that has never committed starts with the oldest record: rewards written before it joined count, too.
    await consumer.subscribe({ topics: [...names.keys()], fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
      consumer.on(consumer.events.GROUP_JOIN, () => {
        this.connected = true;
        this.problem = '';
        onJoined();
      });
      // It starts again by itself after what it takes for passing.
      consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
        this.connected = false;
        this.problem = error.message;
        if (!restart) reject(error);
      });
      consumer.run({ eachBatch: ({ batch }) => this.take(names.get(batch.topic) ?? batch.topic, batch) }).catch(reject);
    });
  }

  /** One batch. Rejects to have it again. */
  private async take(topic: string, { partition, messages }: Pick<Batch, 'partition' | 'messages'>): Promise<void> {
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

async function leave(consumer: Consumer | undefined): Promise<void> {
  if (consumer === undefined) return;
  const timeout = new AbortController();
  await Promise.race([
    consumer.disconnect().catch(() => {}),
    sleep(LEAVE_MS, undefined, { signal: timeout.signal, ref: false }).catch(() => {}),
  ]);
  timeout.abort();
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
