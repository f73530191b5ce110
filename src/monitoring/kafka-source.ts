import type { Batch, Consumer, KafkaMessage } from 'kafkajs';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { kafkaClients } from '../kafka/client.ts';
import type { Logger } from '../telemetry/logging.ts';
import type { MonitorStream } from './stream.ts';

const AGAIN_MS = 2000;
const TELL_MS = 30_000;
/** The log thread gives way to requests: a busy machine must not cost it its place in the group. */
const SESSION_MS = 60_000;

/** What a message of the event log's topics holds. Throws for what is none. */
export interface MessageReader {
  records(message: KafkaMessage): LogRecord[];
  feedback(message: KafkaMessage): FeedbackRecord[];
}

/**
 * Feeds monitors from the topics of the event log instead of from this server's own log: the records of all gateways
 * then count in one place. A message that cannot be read is counted and told, and the next one is read.
 */
export class KafkaSource {
  /** Messages, by what became of them. */
  readonly counts = { read: 0, unreadable: 0 };
  private readonly reader: MessageReader;
  private readonly config: KafkaConfig;
  private readonly group: string;
  private readonly stream: MonitorStream;
  private readonly logger: Logger;
  private consumer: Consumer | undefined;
  /** The last one read, by topic and partition. */
  private readonly offsets = new Map<string, bigint>();
  private topics = '';
  private toldAt = 0;
  private last: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(config: KafkaConfig, group: string, stream: MonitorStream, reader: MessageReader, logger: Logger) {
    this.reader = reader;
    this.config = config;
    this.group = group;
    this.stream = stream;
    this.logger = logger;
  }

  /** Which models' topics are read. */
  follow(models: readonly string[]): void {
    this.last = this.last.then(() => this.change(models));
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.last;
    await this.consumer?.disconnect().catch(() => {});
  }

  /** Tries until the brokers answer. Never rejects. */
  private async change(models: readonly string[]): Promise<void> {
    const names = [...new Set(models)].sort();
    if (names.join() === this.topics) return;
    this.topics = names.join();
    while (!this.closed) {
      try {
        await this.consumer?.disconnect();
        this.consumer = undefined;
        if (names.length > 0) await this.connect(names);
        return;
      } catch (error) {
        this.logger.warn({ err: error }, 'monitors cannot read their topics; it is tried again');
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  private async connect(models: readonly string[]): Promise<void> {
    const clients = await kafkaClients(this.config, this.logger);
    const topics = models.flatMap((model) => [`${model}.inference`, `${model}.feedback`]).map(clients.topic);
    const admin = clients.admin();
    await admin.connect();
    // A topic that the sink makes with its first record would be found minutes later.
    await admin.createTopics({ topics: topics.map((topic) => ({ topic })) }).catch(() => false);
    await admin.disconnect();
    const consumer = clients.consumer(this.group, {
      maxWaitTimeInMs: 200,
      sessionTimeout: SESSION_MS,
      rebalanceTimeout: 2 * SESSION_MS,
    });
    this.consumer = consumer;
    await consumer.connect();
    await consumer.subscribe({ topics, fromBeginning: false });
    await consumer.run({
      eachBatch: async ({ batch }) => this.take(batch),
    });
  }

  /** Messages that were not read before: a group that forms anew begins with what it last committed. */
  private take({ topic, partition, messages }: Batch): void {
    const place = `${topic}/${partition}`;
    for (const message of messages) {
      const offset = BigInt(message.offset);
      if (offset <= (this.offsets.get(place) ?? -1n)) continue;
      try {
        if (topic.endsWith('.feedback')) this.stream.feedback(this.reader.feedback(message));
        else this.stream.consume(this.reader.records(message));
        this.counts.read++;
      } catch (error) {
        this.counts.unreadable++;
        this.tell({ topic, partition, offset: message.offset, reason: (error as Error).message });
      }
      this.offsets.set(place, offset);
    }
  }

  /** One of many: a topic may be full of them. */
  private tell(fields: object): void {
    const now = Date.now();
    if (now - this.toldAt < TELL_MS) return;
    this.toldAt = now;
    this.logger.warn(fields, 'monitors cannot read a message of a topic; it is counted and left out');
  }
}
