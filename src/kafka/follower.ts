import { setTimeout as sleep } from 'node:timers/promises';
import type { Consumer, EachBatchPayload, KafkaMessage } from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from './client.ts';

export interface FollowedBatch {
  /** Without the prefix. */
  topic: string;
  partition: number;
  messages: readonly KafkaMessage[];
  /** For long batches: heartbeats, offsets on the way, and whether the partition is still this member's. */
  payload: EachBatchPayload;
  clients: KafkaClients;
}

export interface FollowerOptions {
  kafka: KafkaConfig;
  /** Of the consumer group, behind `kafka.clientId`. */
  group: string;
  log: Logger;
  /** What is logged when the brokers cannot be reached. */
  trouble: string;
  /** Offsets are committed behind it. Rejects to have the batch again, from the last resolved offset. */
  take(batch: FollowedBatch): Promise<void>;
  /** Partitions worked on at a time; default 1. */
  partitions?: number;
}

/** Between two attempts to reach the brokers. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 10_000;
/** A leaving consumer that gets no answer is let go. */
const LEAVE_MS = 3000;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Reads topics as one member of a consumer group, for ever: the brokers may be away for as long as they like, and
 * partitions may move. At least once: what was taken but not committed comes again. A partition of which a batch is being
 * taken is not fetched from meanwhile, so a slow taker is a slow reader.
 */
export class TopicFollower {
  connected = false;
  problem = '';
  private readonly options: FollowerOptions;
  private topics: readonly string[] = [];
  private stopping = new AbortController();
  /** Consumers run one after the other. */
  private running: Promise<void> = Promise.resolve();

  constructor(options: FollowerOptions) {
    this.options = options;
  }

  /** The topics to read from now on. True: they are others than before. */
  follow(names: Iterable<string>): boolean {
    const topics = [...new Set(names)].sort();
    if (topics.join('\n') === this.topics.join('\n')) return false;
    this.topics = topics;
    this.stopping.abort();
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    this.running = this.running.then(() => this.consume(topics, signal));
    return true;
  }

  get following(): readonly string[] {
    return this.topics;
  }

  async close(): Promise<void> {
    this.topics = [];
    this.stopping.abort();
    await this.running;
  }

  /** Until it is aborted. Never rejects. */
  private async consume(topics: readonly string[], signal: AbortSignal): Promise<void> {
    if (topics.length === 0) return;
    const { kafka, group, log, trouble } = this.options;
    for (let delay = FIRST_DELAY_MS; !signal.aborted; delay = Math.min(2 * delay, MAX_DELAY_MS)) {
      let consumer: Consumer | undefined;
      try {
        const clients = await kafkaClients(kafka, log);
        consumer = clients.consumer(group, { maxBytes: MAX_BYTES, maxBytesPerPartition: MAX_BYTES });
        await this.session(clients, consumer, topics, signal, () => {
          delay = FIRST_DELAY_MS;
        });
      } catch (error) {
        this.problem = (error as Error).message;
        log.warn({ topics, reason: this.problem }, `${trouble}; it is tried again`);
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
    // A group that has never committed starts with the oldest record: what was written before it joined counts, too.
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
      consumer
        .run({
          partitionsConsumedConcurrently: this.options.partitions ?? 1,
          eachBatch: (payload) => {
            const { topic, partition, messages } = payload.batch;
            return this.options.take({ topic: names.get(topic) ?? topic, partition, messages, payload, clients });
          },
        })
        .catch(reject);
    });
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
