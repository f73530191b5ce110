import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { MessageReader } from '../eventlog/record.ts';
import { type FollowedBatch, TopicFollower } from '../kafka/follower.ts';
import type { Logger } from '../telemetry/logging.ts';
import type { MonitorSource, MonitorStream } from './stream.ts';

const TELL_MS = 30_000;
/** The log thread gives way to requests: a busy machine must not cost it its place in the group. */
const SESSION_MS = 60_000;

/** The last message of a partition, by topic. */
type Offsets = Map<string, Map<number, bigint>>;

/**
 * Feeds monitors from the topics of the event log instead of from this server's own log: the records of all gateways
 * then count in one place. It begins with what comes. Topics are made by whoever writes them, with the partitions that the
 * sink's settings say. A message that cannot be read is counted and told, and the next one is read. Offsets are committed
 * when monitors have kept what was counted up to them, and kept with it: each message counts once, also after a kill.
 */
export class KafkaSource implements MonitorSource {
  readonly name = 'kafka';
  /** Messages, by what became of them. */
  readonly counts = { read: 0, unreadable: 0 };
  private readonly reader: MessageReader;
  private readonly stream: MonitorStream;
  private readonly logger: Logger;
  private readonly follower: TopicFollower;
  /** Those that were read. */
  private offsets: Offsets = new Map();
  /** Those that monitors have kept. */
  private durable: Offsets = new Map();
  /** Of these, what the brokers know. */
  private readonly committed: Offsets = new Map();
  private toldAt = 0;

  constructor(kafka: KafkaConfig, group: string, stream: MonitorStream, reader: MessageReader, logger: Logger) {
    this.reader = reader;
    this.stream = stream;
    this.logger = logger;
    this.follower = new TopicFollower({
      kafka,
      group,
      log: logger,
      trouble: 'monitors cannot read their topics',
      from: 'end',
      commitsItself: true,
      consumer: { maxWaitTimeInMs: 200, sessionTimeout: SESSION_MS, rebalanceTimeout: 2 * SESSION_MS },
      onMissing: (topics) => {
        for (const topic of topics) this.offsets.delete(topic);
      },
      take: async (batch) => {
        this.take(batch);
        await this.commit(batch);
      },
    });
    stream.follow(this, false);
  }

  place(): Offsets {
    return new Map([...this.offsets].map(([topic, places]) => [topic, new Map(places)]));
  }

  begin(place: unknown): void {
    this.offsets = place as Offsets;
    this.durable = this.place();
  }

  kept(place: unknown): void {
    if (place !== undefined) this.durable = place as Offsets;
  }

  /** Which models' topics are read. */
  follow(models: readonly string[]): void {
    this.follower.follow(models.flatMap((model) => [`${model}.inference`, `${model}.feedback`]));
  }

  close(): Promise<void> {
    return this.follower.close();
  }

  /** Messages that were not read before: a group that forms anew begins with what it last committed. */
  private take({ topic, partition, messages, payload }: FollowedBatch): void {
    const places = this.offsets.get(topic) ?? new Map<number, bigint>();
    this.offsets.set(topic, places);
    // A topic that ends before what was read of it has been made anew.
    if (BigInt(payload.batch.highWatermark) <= (places.get(partition) ?? -1n)) places.delete(partition);
    for (const message of messages) {
      const offset = BigInt(message.offset);
      if (offset <= (places.get(partition) ?? -1n)) continue;
      try {
        if (topic.endsWith('.feedback')) this.stream.feedback(this.reader.feedback(message));
        else this.stream.consume(this.reader.records(message));
        this.counts.read++;
      } catch (error) {
        this.counts.unreadable++;
        this.tell({ topic, partition, offset: message.offset, reason: (error as Error).message });
      }
      places.set(partition, offset);
    }
    this.stream.settle(Date.now());
  }

  /** What is kept of the batch's partition. Rejects when the brokers are away: the batch comes again, and is left out. */
  private async commit({ topic, partition, payload, clients }: FollowedBatch): Promise<void> {
    const kept = this.durable.get(topic)?.get(partition);
    const known = this.committed.get(topic) ?? new Map<number, bigint>();
    this.committed.set(topic, known);
    if (kept === undefined || kept === known.get(partition)) return;
    const partitions = [{ partition, offset: String(kept + 1n) }];
    await payload.commitOffsetsIfNecessary({ topics: [{ topic: clients.topic(topic), partitions }] });
    known.set(partition, kept);
  }

  /** One of many: a topic may be full of them. */
  private tell(fields: object): void {
    const now = Date.now();
    if (now - this.toldAt < TELL_MS) return;
    this.toldAt = now;
    this.logger.warn(fields, 'monitors cannot read a message of a topic; it is counted and left out');
  }
}
