import type { Batch, Consumer } from 'kafkajs';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { Column, FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { kafkaClients } from '../kafka/client.ts';
import type { Logger } from '../telemetry/logging.ts';
import type { MonitorStream } from './stream.ts';

const AGAIN_MS = 2000;
/** The log thread gives way to requests: a busy machine must not cost it its place in the group. */
const SESSION_MS = 60_000;

/**
 * Feeds monitors from the topics of the event log instead of from this server's own log: the records of all gateways
 * then count in one place. Reads the JSON that the sink writes by default. A record that cannot be read is counted.
 */
export class KafkaSource {
  unreadable = 0;
  private readonly config: KafkaConfig;
  private readonly group: string;
  private readonly stream: MonitorStream;
  private readonly logger: Logger;
  private consumer: Consumer | undefined;
  /** The last one read, by topic and partition. */
  private readonly offsets = new Map<string, bigint>();
  private topics = '';
  private last: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(config: KafkaConfig, group: string, stream: MonitorStream, logger: Logger) {
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
      eachBatch: async ({ batch }) => {
        const feedback = batch.topic.endsWith('.feedback');
        const texts = this.fresh(batch).map(({ value }) => value?.toString('utf8') ?? '');
        if (feedback) this.stream.feedback(texts.flatMap((text) => this.read(() => feedbackOf(text))));
        else this.stream.consume(texts.flatMap((text) => this.read(() => recordOf(text))));
      },
    });
  }

  /** Messages that were not read before: a group that forms anew begins with what it last committed. */
  private fresh({ topic, partition, messages }: Batch): Batch['messages'] {
    const place = `${topic}/${partition}`;
    const seen = this.offsets.get(place) ?? -1n;
    const fresh = messages.filter(({ offset }) => BigInt(offset) > seen);
    const last = fresh.at(-1);
    if (last !== undefined) this.offsets.set(place, BigInt(last.offset));
    return fresh;
  }

  private read<T>(parse: () => T): T[] {
    try {
      return [parse()];
    } catch {
      this.unreadable++;
      return [];
    }
  }
}

interface JsonColumn extends Omit<Column, 'values'> {
  data: (number | string | boolean | null)[] | null;
}

const NUMBERS: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/** Reads what recordJson wrote. Throws for what is none. */
export function recordOf(text: string): LogRecord {
  const record = JSON.parse(text) as Omit<LogRecord, 'features' | 'predictions'> & {
    features: JsonColumn[];
    predictions: JsonColumn[];
  };
  const columns = (list: readonly JsonColumn[]): Column[] =>
    list.map(({ data, ...column }) => ({
      ...column,
      values: (data ?? []).map((value) =>
        typeof value === 'string' && column.datatype !== 'BYTES' ? (NUMBERS[value] ?? value) : value,
      ),
    }));
  return { ...record, features: columns(record.features), predictions: columns(record.predictions) };
}

function feedbackOf(text: string): FeedbackRecord {
  const record = JSON.parse(text) as FeedbackRecord;
  if (typeof record.id !== 'string') throw new TypeError('a label without an id');
  return record;
}
