import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { Message } from 'kafkajs';
import type { KafkaSinkConfig } from '../../config/event-log-schema.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { COMPRESSION } from '../../kafka/compression/pack.ts';
import { MAX_BATCH_BYTES, type Outgoing, requests } from '../../kafka/requests.ts';
import { isOf, Sender } from '../../kafka/sender.ts';
import { topicsOf } from '../../kafka/topics.ts';
import type { Logger } from '../../telemetry/logging.ts';
import { byReference } from '../encode/by-reference.ts';
import type { RecordKind } from '../encode/container.ts';
import type { KeepPayload } from '../encode/record-encoder.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from '../encode/schema.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';
import { blocks, groupRecords, type RecordGroup, type Sized } from './kafka-blocks.ts';
import { RecordMessages } from './kafka-messages.ts';
import { MissingTopics } from './missing-topics.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

/** A request to the broker costs as much as a hundred records in it. */
const LINGER_MS = { record: 20, block: 200 };
const UNMATCHED = 'unmatched';
const SOURCE = 'switchyard';

/** Of a group's records. */
interface Made extends Outgoing {
  group: RecordGroup;
  messages: readonly Sized[];
}

/**
 * Records as messages, or many in one message, on the topics <prefix><model>.inference and .feedback. The producer is
 * idempotent. A batch that failed in part or altogether comes again from the cursor, so consumers may see a record twice,
 * and tell by its id.
 */
export class KafkaSink implements Sink {
  readonly maxRecords: number;
  readonly lingerMs: number;
  private readonly config: KafkaSinkConfig;
  private readonly clients: KafkaClients;
  private readonly keep: KeepPayload;
  private readonly compression: number;
  private readonly registry: SchemaRegistry | undefined;
  private readonly replayed: string;
  private readonly recordMessages: RecordMessages;
  private readonly sender: Sender;
  /** Schema ids by subject. */
  private readonly schemas = new Map<string, Promise<number>>();
  private readonly topics = new Set<string>();
  private readonly missing: MissingTopics;

  /** @param keep keeps what is too large for the broker @param replayed a header for records that come again; '': none */
  constructor(
    config: KafkaSinkConfig,
    clients: KafkaClients,
    keep: KeepPayload,
    log: Pick<Logger, 'error'>,
    replayed = '',
  ) {
    this.replayed = replayed;
    this.missing = new MissingTopics({
      list: () => topicsOf(clients),
      tell: (topic) =>
        log.error(
          { sink: config.name, topic },
          'a topic is not there, and the brokers do not make it: its records wait in the spool. Create it, or set createTopics of the sink',
        ),
    });
    // Its sends may be given up, since a batch that failed comes again.
    const retry = { retries: 5, initialRetryTime: 100, maxRetryTime: 2000 };
    const allowAutoTopicCreation = config.createTopics === undefined;
    const options = { idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation, retry };
    this.sender = new Sender(() => clients.producer(options));
    this.keep = keep;
    this.recordMessages = new RecordMessages(config.format, SOURCE);
    this.compression = COMPRESSION[config.compression];
    this.config = config;
    this.clients = clients;
    this.maxRecords = config.batchRecords;
    this.lingerMs = config.linger ?? LINGER_MS[config.layout];
    if (config.schemaRegistry !== undefined)
      this.registry = new SchemaRegistry({ host: config.schemaRegistry, retry: { retries: 0 } });
  }

  get waits(): boolean {
    return this.missing.some;
  }

  restore(): void {}

  async send(batch: Batch): Promise<Taken> {
    const { groups, refused: unreadable } = groupRecords(batch.records);
    const next = batch.next.record;
    let refused = unreadable;
    const outgoing: Made[] = [];
    for (const group of groups) {
      const topic = this.clients.topic(`${topicPart(group.model)}.${group.kind}`);
      if (!this.missing.wants(topic, next)) continue;
      await this.ensureTopic(topic);
      const messages = await this.messages(topic, group);
      refused += messages.refused;
      if (messages.list.length > 0) outgoing.push({ topic, group, messages: messages.list });
    }
    try {
      for (const request of requests(outgoing, MAX_BATCH_BYTES)) refused += await this.request(request);
    } catch (error) {
      const unknown = isOf(error, ['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION']);
      if (!unknown || !(await this.missing.learn(outgoing.map(({ topic }) => topic)))) throw error;
      return this.send(batch);
    }
    this.missing.sent(next);
    return { settled: !this.missing.some, refused };
  }

  async tick(now: number): Promise<Taken> {
    return (await this.missing.made(now)) ? { ...NOTHING, again: true } : NOTHING;
  }

  note(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    await this.sender.close();
  }

  /** One request to the broker. Returns how many records the broker will never take. */
  private async request(made: readonly Made[]): Promise<number> {
    const topicMessages = made.map(({ topic, messages }) => ({
      topic,
      messages: messages.map(({ message }) => message),
    }));
    return (await this.sender.send(topicMessages, this.compression)) ? 0 : this.oneByOne(made);
  }

  /**
   * For a request that the broker does not take because of its size. What is too large by itself goes without its values,
   * which are kept by reference. Returns how many records the broker will never take.
   */
  private async oneByOne(all: readonly Made[]): Promise<number> {
    let refused = 0;
    const taken = (topic: string, message: Message): Promise<boolean> =>
      this.sender.send([{ topic, messages: [message] }], this.compression);
    for (const { topic, group, messages } of all) {
      for (const { message, records } of messages) {
        if (await taken(topic, message)) continue;
        for (const record of records) {
          // Of a block each record has a second chance by itself.
          const tries = records.length > 1 ? [record, this.withoutValues(record)] : [this.withoutValues(record)];
          let arrived = false;
          for (const one of tries) {
            const [small] = (await this.messages(topic, { ...group, records: [one] })).list;
            arrived = small !== undefined && (await taken(topic, small.message));
            if (arrived) break;
          }
          if (!arrived) refused++;
        }
      }
    }
    return refused;
  }

  private withoutValues(record: SpoolRecord): SpoolRecord {
    if (record.kind === FEEDBACK) return record;
    const u8 = byReference(record.u8, record.start, record.end, this.keep) ?? record.body;
    return { ...record, u8, start: 0, end: u8.length, body: u8 };
  }

  private async ensureTopic(topic: string): Promise<void> {
    const { createTopics } = this.config;
    if (createTopics === undefined || this.topics.has(topic)) return;
    const admin = this.clients.admin();
    await admin.connect();
    try {
      const { partitions: numPartitions, replication: replicationFactor } = createTopics;
      await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor }], waitForLeaders: true });
    } finally {
      await admin.disconnect();
    }
    this.topics.add(topic);
  }

  private async messages(topic: string, group: RecordGroup): Promise<{ list: Sized[]; refused: number }> {
    const { layout, format } = this.config;
    const schemaId = layout === 'record' && format === 'avro' ? await this.schemaId(topic, group.kind) : 0;
    const made =
      layout === 'block'
        ? { list: blocks(group, MAX_BATCH_BYTES, SOURCE), refused: 0 }
        : this.recordMessages.of(group, schemaId);
    if (this.replayed !== '')
      for (const { message } of made.list) message.headers = { ...message.headers, ce_replayed: this.replayed };
    return made;
  }

  /** Registers the schema under the topic's subject, once. Rejects while the registry is away. */
  private schemaId(topic: string, kind: RecordKind): Promise<number> {
    const subject = `${topic}-value`;
    let id = this.schemas.get(subject);
    if (id === undefined) {
      const schema = JSON.stringify(kind === 'inference' ? INFERENCE_SCHEMA : FEEDBACK_SCHEMA);
      id = (this.registry as SchemaRegistry)
        .register({ type: SchemaType.AVRO, schema }, { subject })
        .then(({ id: registered }) => registered);
      this.schemas.set(subject, id);
      id.catch(() => this.schemas.delete(subject));
    }
    return id;
  }
}

/** A model's name as a part of a topic's: Kafka allows letters, digits, "_", "." and "-". */
function topicPart(model: string): string {
  return model === '' ? UNMATCHED : model.replace(/[^\w.-]/g, '_').slice(0, 200);
}
