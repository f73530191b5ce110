import type { KafkaMessage } from 'kafkajs';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { MonitoringConfig } from '../config/monitoring-schema.ts';
import { type FeedbackRecord, isReplayed, type MessageReader, topicOf } from '../eventlog/record.ts';
import { jsonOf } from '../kafka/avro-json.ts';
import { isFramed } from '../kafka/avro-values.ts';
import type { Bounds } from '../kafka/begin.ts';
import type { KafkaClients } from '../kafka/client.ts';
import { type FollowedBatch, TopicFollower } from '../kafka/follower.ts';
import type { Lag } from '../kafka/lag.ts';
import { steadyTime } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { readEvents, toldOf } from '../shared/feedback-events.ts';
import type { Logger } from '../telemetry/logging.ts';
import type { MonitorSpec } from './document.ts';
import { RecentIds } from './recent-ids.ts';
import type { MonitorSource, MonitorStream } from './stream.ts';

const TELL_MS = 30_000;
/** Of requests: a sink sends again what it sent in the last seconds. */
const REMEMBERED = 100_000;
/** The last message of a partition, by topic. */
type Offsets = Map<string, Map<number, bigint>>;

/**
 * Feeds monitors from the topics of the event log instead of from this server's own log: the records of all gateways
 * then count in one place. It begins with what comes. Topics are made by whoever writes them, with the partitions that the
 * sink's settings say. A message that cannot be read is counted and told, and the next one is read. Offsets are committed
 * when monitors have kept what was counted up to them, and kept with it: each message counts once, also after a kill. So
 * does a record that its sink sent twice within a while; what a replay sent is left out.
 */
export class KafkaSource implements MonitorSource {
  readonly name = 'kafka';
  /** Messages, by what became of them. */
  readonly counts = { read: 0, unreadable: 0, tombstone: 0, replayed: 0 };
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
  private readonly recent = new RecentIds(REMEMBERED);

  constructor(
    kafka: KafkaConfig,
    { group, sessionTimeout }: Pick<MonitoringConfig, 'group' | 'sessionTimeout'>,
    stream: MonitorStream,
    reader: MessageReader,
    logger: Logger,
  ) {
    this.reader = reader;
    this.stream = stream;
    this.logger = logger;
    this.follower = new TopicFollower({
      kafka,
      group,
      log: logger,
      trouble: 'monitors cannot read their topics',
      begin: (topic, partitions) => this.beginning(topic, partitions),
      commitsItself: true,
      consumer: {
        maxWaitTimeInMs: 200,
        sessionTimeout,
        rebalanceTimeout: 2 * sessionTimeout,
        heartbeatInterval: Math.min(3000, sessionTimeout / 10),
      },
      onMissing: (topics) => {
        for (const topic of topics) this.offsets.set(topic, new Map());
        stream.turned();
      },
      take: async (batch) => {
        await this.take(batch);
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

  /**
   * Which monitors' topics are read. Labels lie on the topic of the name that their client gave, the model's or the route's,
   * or of none.
   */
  follow(specs: readonly Pick<MonitorSpec, 'model' | 'route' | 'quality'>[]): void {
    this.follower.follow(
      specs.flatMap(({ model, route = model, quality }) => [
        topicOf(model, 'inference'),
        topicOf(model, 'feedback'),
        ...(quality === undefined ? [] : [topicOf(route, 'feedback'), topicOf('', 'feedback')]),
      ]),
    );
  }

  lags(): Lag[] {
    return this.follower.lags();
  }

  close(): Promise<void> {
    return this.follower.close();
  }

  /**
   * Behind what was read, also where that was not committed. All of a topic is new that was not there before, and of a
   * partition that a topic did not have; of others it is what comes.
   */
  private beginning(topic: string, partitions: readonly Bounds[]): bigint[] {
    const places = this.offsets.get(topic);
    const starts = partitions.map(({ partition, low, high }) => {
      const read = places?.get(partition);
      if (read !== undefined && read >= low - 1n && read < high) return read + 1n;
      return places === undefined ? high : low;
    });
    const stands = new Map(places);
    for (const [i, { partition }] of partitions.entries()) stands.set(partition, starts[i] - 1n);
    this.offsets.set(topic, stands);
    this.stream.turned();
    return starts;
  }

  /**
   * Messages that were not read before: a group that forms anew begins with what it last committed. Rejects while the schema
   * registry is away.
   */
  private async take({ topic, partition, messages, payload, clients }: FollowedBatch): Promise<void> {
    const places = this.offsets.get(topic) ?? new Map<number, bigint>();
    this.offsets.set(topic, places);
    // A topic that ends before what was read of it has been made anew.
    if (BigInt(payload.batch.highWatermark) <= (places.get(partition) ?? -1n)) places.delete(partition);
    for (const message of messages) {
      const offset = BigInt(message.offset);
      if (offset <= (places.get(partition) ?? -1n)) continue;
      try {
        if (message.value === null) this.counts.tombstone++;
        else if (isReplayed(message.headers)) this.counts.replayed++;
        else {
          if (topic.endsWith('.feedback')) this.stream.feedback(await this.labels(message, clients));
          else this.stream.consume(this.reader.records(message).filter(({ id }) => this.recent.add(id)));
          this.counts.read++;
        }
      } catch (error) {
        if (error instanceof SwitchyardError && error.code === 'unavailable') throw error;
        this.counts.unreadable++;
        this.tell({ topic, partition, offset: message.offset, reason: (error as Error).message });
      }
      places.set(partition, offset);
    }
    this.stream.settle(steadyTime());
  }

  /** The sink's own, or events that others have written as Avro by a schema of theirs. */
  private async labels(message: KafkaMessage, clients: KafkaClients): Promise<FeedbackRecord[]> {
    const { value, headers, timestamp } = message;
    if (value === null || !isFramed(value) || headers?.['content-type'] !== undefined)
      return this.reader.feedback(message);
    return this.reader.events(readEvents(jsonOf(await clients.avro(value))).map(told), Number(timestamp));
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

function told(event: unknown): unknown {
  return typeof event === 'object' && event !== null ? toldOf(event) : event;
}
