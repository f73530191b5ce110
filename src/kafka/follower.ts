import { setTimeout as sleep } from 'node:timers/promises';
import type { Consumer, ConsumerConfig, EachBatchPayload, KafkaMessage } from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { type Begin, begin } from './begin.ts';
import { type KafkaClients, kafkaClients } from './client.ts';
import { type Lag, LagWatch } from './lag.ts';
import { topicsOf } from './topics.ts';

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
  /** `take` resolves offsets by itself: what it has left when it returns comes again, here or elsewhere. */
  resolvesItself?: boolean;
  /** `take` commits by itself, when it may: what it has not committed comes again. */
  commitsItself?: boolean;
  /** Partitions worked on at a time; default 1. */
  partitions?: number;
  /** Where a group that has committed nothing of a partition begins in it; absent: at its oldest record. */
  begin?: Begin;
  consumer?: Pick<ConsumerConfig, 'maxWaitTimeInMs' | 'sessionTimeout' | 'rebalanceTimeout' | 'heartbeatInterval'>;
  /** Topics that are not there, whenever they become others. */
  onMissing?(topics: readonly string[]): void;
}

/** Between two attempts to reach the brokers. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 10_000;
/** Between two looks whether a topic that was not there has been made. */
const LOOK_MS = 5000;
/** A leaving consumer that gets no answer is let go. */
const LEAVE_MS = 3000;
/** Between two questions for the ends of partitions. */
const LAG_MS = 10_000;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Reads topics as one member of a consumer group, for ever: the brokers may be away for as long as they like, and
 * partitions may move. At least once: what was taken but not committed comes again. A partition of which a batch is being
 * taken is not fetched from meanwhile, so a slow taker is a slow reader. A topic that is not there holds no other up: it is
 * named, and read from its beginning when it has been made.
 */
export class TopicFollower {
  connected = false;
  problem = '';
  /** Of the topics, those that are not there. */
  private missing: readonly string[] = [];
  private readonly lag = new LagWatch();
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

  /** Of the partitions that are read here. */
  lags(): Lag[] {
    return this.lag.lags();
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
        const there = await this.look(clients, topics);
        if (there.length === 0) await this.untilMade(clients, signal);
        else {
          consumer = clients.consumer(group, {
            ...this.options.consumer,
            maxBytes: MAX_BYTES,
            maxBytesPerPartition: MAX_BYTES,
            // Whoever makes it says how many partitions it has.
            allowAutoTopicCreation: false,
          });
          await this.session(clients, consumer, there, signal, () => {
            delay = FIRST_DELAY_MS;
          });
        }
      } catch (error) {
        this.problem = (error as Error).message;
        log.warn({ topics, reason: this.problem }, `${trouble}; it is tried again`);
      } finally {
        this.connected = false;
        await leave(consumer);
        this.lag.clear();
      }
      await sleep(delay, undefined, { signal }).catch(() => {});
    }
  }

  /** Those of the topics that are there; tells of others, once. Rejects when the brokers cannot be asked. */
  private async look(clients: KafkaClients, topics: readonly string[]): Promise<string[]> {
    const known = new Set(await topicsOf(clients));
    const missing = topics.filter((topic) => !known.has(clients.topic(topic)));
    const told = new Set(this.missing);
    this.missing = missing;
    this.problem = this.missingText;
    if (missing.length !== told.size || missing.some((topic) => !told.has(topic))) this.options.onMissing?.(missing);
    if (missing.some((topic) => !told.has(topic)))
      this.options.log.warn({ topics: missing }, `${this.options.trouble}: ${this.missingText}`);
    return topics.filter((topic) => known.has(clients.topic(topic)));
  }

  private get missingText(): string {
    if (this.missing.length === 0) return '';
    const names = this.missing.map((topic) => JSON.stringify(topic)).join(', ');
    return `Kafka has no topic ${names}, or does not show it to this user; it is read when it has been made`;
  }

  /** Until it is aborted. Never rejects. */
  private async watchLag(clients: KafkaClients, signal: AbortSignal): Promise<void> {
    const admin = clients.admin();
    try {
      await admin.connect();
      while (!signal.aborted) {
        // Brokers that are away are noticed by the consumer.
        await this.lag.look(admin).catch(() => {});
        await sleep(LAG_MS, undefined, { signal });
      }
    } catch {
    } finally {
      await admin.disconnect().catch(() => {});
    }
  }

  /** Resolves when one of the missing topics has been made, or when it is aborted. Rejects when the brokers are away. */
  private async untilMade(clients: KafkaClients, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      const known = new Set(await topicsOf(clients));
      if (this.missing.some((topic) => known.has(clients.topic(topic)))) return;
    }
  }

  /**
   * One consumer's life. Resolves when it is aborted, or other topics are there than before; rejects when the consumer gives
   * up.
   */
  private async session(
    clients: KafkaClients,
    consumer: Consumer,
    topics: readonly string[],
    signal: AbortSignal,
    onJoined: () => void,
  ): Promise<void> {
    const names = new Map(topics.map((topic) => [clients.topic(topic), topic]));
    await consumer.connect();
    // Unless told otherwise, what was written before the group first joined counts, too.
    await consumer.subscribe({ topics: [...names.keys()], fromBeginning: true });
    const nameOf = (topic: string): string => names.get(topic) ?? topic;
    let begun: Promise<void> = Promise.resolve();
    await new Promise<void>((resolve, reject) => {
      const over = new AbortController();
      const end = (error?: Error): void => {
        over.abort();
        if (error === undefined) resolve();
        else reject(error);
      };
      if (signal.aborted) end();
      signal.addEventListener('abort', () => end(), { once: true, signal: over.signal });
      consumer.on(consumer.events.GROUP_JOIN, ({ payload: { groupId, memberAssignment } }) => {
        this.connected = true;
        this.problem = this.missingText;
        onJoined();
        this.lag.assign(groupId, memberAssignment);
        const { begin: at } = this.options;
        if (at === undefined) return;
        begun = begin(clients, consumer, groupId, memberAssignment, (topic, open) => at(nameOf(topic), open));
        begun.catch(end);
      });
      consumer.on(consumer.events.COMMIT_OFFSETS, ({ payload: { topics: committed } }) => {
        for (const { topic, partitions } of committed)
          for (const { partition, offset } of partitions) this.lag.saw(topic, partition, { next: BigInt(offset) });
      });
      // It starts again by itself after what it takes for passing.
      consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
        this.connected = false;
        this.problem = error.message;
        // kafkajs would try for ever to read a topic that has been deleted, and nothing else.
        if (!restart || error.message.includes(UNKNOWN_TOPIC)) end(error);
      });
      const watch = async (): Promise<void> => {
        // While the brokers are away the consumer says so.
        while (!over.signal.aborted)
          await this.untilMade(clients, over.signal).then(
            () => end(),
            () => {},
          );
      };
      if (this.missing.length > 0) void watch();
      void this.watchLag(clients, over.signal);
      consumer
        .run({
          autoCommit: this.options.commitsItself !== true,
          // It would take what a stop has cut short for done.
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: this.options.partitions ?? 1,
          eachBatch: async (payload) => {
            const { topic, partition, messages, highWatermark } = payload.batch;
            await begun;
            // It begins elsewhere.
            if (payload.isStale()) return;
            this.lag.saw(topic, partition, { end: BigInt(highWatermark) });
            await this.options.take({ topic: nameOf(topic), partition, messages, payload, clients });
            if (this.options.resolvesItself === true) return;
            const last = payload.batch.lastOffset();
            payload.resolveOffset(last);
            if (this.options.commitsItself === true) this.lag.saw(topic, partition, { next: BigInt(last) + 1n });
          },
        })
        .catch(end);
    });
  }
}

/** kafkajs's text of UNKNOWN_TOPIC_OR_PARTITION. */
const UNKNOWN_TOPIC = 'does not host this topic-partition';

async function leave(consumer: Consumer | undefined): Promise<void> {
  if (consumer === undefined) return;
  const timeout = new AbortController();
  await Promise.race([
    consumer.disconnect().catch(() => {}),
    sleep(LEAVE_MS, undefined, { signal: timeout.signal, ref: false }).catch(() => {}),
  ]);
  timeout.abort();
}
