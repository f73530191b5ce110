import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { Message, Producer, TopicMessages } from 'kafkajs';
import type { KafkaSinkConfig } from '../../config/event-log-schema.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import type { RecordKind } from '../encode/container.ts';
import { recordJson, sagemakerLine } from '../encode/json.ts';
import type { RecordHead } from '../encode/record-decoder.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from '../encode/schema.ts';
import type { SpoolRecord } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';
import { blocks, groupRecords, headOf, type RecordGroup } from './kafka-blocks.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

/** Below a broker's usual limit of 1 MiB a message. */
const MAX_MESSAGE_BYTES = 900 * 1024;
/** One request to the broker. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** A request to the broker costs as much as a hundred records in it. */
const LINGER_MS = { record: 20, block: 200 };
const UNMATCHED = 'unmatched';
const SOURCE = 'switchyard';
/** kafkajs's numbers. */
const NONE = 0;
const GZIP = 1;

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
  private readonly registry: SchemaRegistry | undefined;
  private producer: Producer | undefined;
  /** Schema ids by subject. */
  private readonly schemas = new Map<string, Promise<number>>();
  private readonly topics = new Set<string>();

  constructor(config: KafkaSinkConfig, clients: KafkaClients) {
    this.config = config;
    this.clients = clients;
    this.maxRecords = config.batchRecords;
    this.lingerMs = config.linger ?? LINGER_MS[config.layout];
    if (config.schemaRegistry !== undefined)
      this.registry = new SchemaRegistry({ host: config.schemaRegistry, retry: { retries: 0 } });
  }

  restore(): void {}

  async send({ records }: Batch): Promise<Taken> {
    const { groups, refused: unreadable } = groupRecords(records);
    let refused = unreadable;
    const topicMessages: TopicMessages[] = [];
    for (const group of groups) {
      const topic = this.clients.topic(`${topicPart(group.model)}.${group.kind}`);
      await this.ensureTopic(topic);
      const messages = await this.messages(topic, group);
      refused += messages.refused;
      if (messages.list.length > 0) topicMessages.push({ topic, messages: messages.list });
    }
    const producer = await this.connected();
    const compression = this.config.compression === 'gzip' ? GZIP : NONE;
    try {
      for (const part of requests(topicMessages))
        await producer.sendBatch({ topicMessages: part, acks: -1, compression });
    } catch (error) {
      if (isTooLarge(error))
        return { settled: true, refused: refused + (await this.oneByOne(producer, topicMessages)) };
      // An idempotent producer that failed for good has lost its place among the sequence numbers.
      this.producer = undefined;
      producer.disconnect().catch(() => {});
      throw error;
    }
    return { settled: true, refused };
  }

  async tick(): Promise<Taken> {
    return NOTHING;
  }

  note(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    await this.producer?.disconnect();
  }

  private async connected(): Promise<Producer> {
    if (this.producer !== undefined) return this.producer;
    const producer = this.clients.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: this.config.createTopics === undefined,
      retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 2000 },
    });
    await producer.connect();
    this.producer = producer;
    return producer;
  }

  /** For a batch that holds a message which the broker will never take. Returns how many these were. */
  private async oneByOne(producer: Producer, all: readonly TopicMessages[]): Promise<number> {
    let refused = 0;
    for (const { topic, messages } of all) {
      for (const message of messages) {
        try {
          await producer.send({ topic, messages: [message], acks: -1, compression: NONE });
        } catch (error) {
          if (!isTooLarge(error)) throw error;
          refused += Number(message.headers?.['switchyard-records'] ?? 1);
        }
      }
    }
    return refused;
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

  private async messages(topic: string, group: RecordGroup): Promise<{ list: Message[]; refused: number }> {
    if (this.config.layout === 'block') return { list: blocks(group, MAX_MESSAGE_BYTES, SOURCE), refused: 0 };
    const { kind, records } = group;
    const { format } = this.config;
    const schemaId = format === 'avro' ? await this.schemaId(topic, kind) : 0;
    const list: Message[] = [];
    let refused = 0;
    for (const record of records) {
      const head = headOf(record);
      const value = messageValue(format, record, schemaId);
      if (head === undefined || value === undefined) refused++;
      else
        list.push({
          key: head.entity === '' ? head.id : head.entity,
          value,
          timestamp: String(head.time),
          headers: headersOf(head, kind, format),
        });
    }
    return { list, refused };
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

function isTooLarge(error: unknown): boolean {
  const { type, cause } = error as { type?: string; cause?: unknown };
  return type === 'MESSAGE_TOO_LARGE' || (cause !== undefined && isTooLarge(cause));
}

/** A model's name as a part of a topic's: Kafka allows letters, digits, "_", "." and "-". */
function topicPart(model: string): string {
  return model === '' ? UNMATCHED : model.replace(/[^\w.-]/g, '_').slice(0, 200);
}

/** Undefined: it cannot be read, or the format has no form for it. */
function messageValue(format: KafkaSinkConfig['format'], spooled: SpoolRecord, schemaId: number): Buffer | undefined {
  if (format === 'avro') {
    const { body } = spooled;
    // Confluent's framing: a zero, the schema's id, the record.
    const framed = Buffer.allocUnsafe(5 + body.length);
    framed[0] = 0;
    framed.writeInt32BE(schemaId, 1);
    framed.set(body, 5);
    return framed;
  }
  const record = decodeSpooled(spooled);
  if (record === undefined) return undefined;
  if (format === 'json') return Buffer.from(recordJson(record));
  return 'features' in record ? Buffer.from(sagemakerLine(record)) : undefined;
}

/** CloudEvents in binary mode. */
function headersOf(head: RecordHead, kind: RecordKind, format: KafkaSinkConfig['format']): Record<string, string> {
  return {
    ce_specversion: '1.0',
    ce_id: head.id,
    ce_source: SOURCE,
    ce_type: `dev.switchyard.${kind}`,
    ce_time: new Date(head.time).toISOString(),
    ...(head.model === '' ? {} : { ce_subject: head.model }),
    'content-type': format === 'avro' ? 'application/avro' : 'application/json',
    ...(head.traceparent === '' ? {} : { traceparent: head.traceparent }),
  };
}

/** Splits by bytes, so that no request to the broker grows without bound. */
function* requests(all: readonly TopicMessages[]): Iterable<TopicMessages[]> {
  let part: TopicMessages[] = [];
  let bytes = 0;
  for (const { topic, messages } of all) {
    let own: Message[] = [];
    for (const message of messages) {
      const size = (message.value as Buffer).length;
      if (bytes > 0 && bytes + size > MAX_REQUEST_BYTES) {
        if (own.length > 0) part.push({ topic, messages: own });
        yield part;
        part = [];
        own = [];
        bytes = 0;
      }
      own.push(message);
      bytes += size;
    }
    if (own.length > 0) part.push({ topic, messages: own });
  }
  if (part.length > 0) yield part;
}
