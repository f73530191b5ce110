import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { KafkaSinkConfig } from '../../config/event-log-schema.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { COMPRESSION } from '../../kafka/compression/pack.ts';
import { MAX_BATCH_BYTES, type Outgoing, requests } from '../../kafka/requests.ts';
import { isMissing, type Refusal, refusalOf, Sender } from '../../kafka/sender.ts';
import { topicsOf } from '../../kafka/topics.ts';
import type { Logger } from '../../telemetry/logging.ts';
import { byReference } from '../encode/by-reference.ts';
import type { RecordKind } from '../encode/container.ts';
import type { KeepPayload } from '../encode/record-encoder.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from '../encode/schema.ts';
import { REPLAYED_HEADER, topicOf } from '../record.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';
import { blocks, groupRecords, type RecordGroup, type Sized } from './kafka-blocks.ts';
import { RecordMessages } from './kafka-messages.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';
import { WaitingTopics } from './waiting-topics.ts';

/** A request to the broker costs as much as a hundred records in it. */
const LINGER_MS = { record: 20, block: 200 };
const SOURCE = 'switchyard';

const NOT_THERE =
  'a topic is not there, and the brokers do not make it: its records wait in the spool. Create it, or set createTopics of the sink';
/** Why a topic takes nothing. */
const REASONS: Readonly<Record<Refusal, string>> = {
  size: 'its limit of a record is too small; raise its max.message.bytes',
  time: "even the time of sending is not within its message.timestamp.before.max.ms and .after.max.ms; set this machine's clock",
  form: 'the brokers find the records invalid; a compacted topic takes none without a key, as blocks are: set layout: record of the sink, or take compact out of its cleanup.policy',
  rights: 'this user may not write to it; allow it in an ACL',
};

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
  private readonly waiting: WaitingTopics;

  /** @param keep keeps what is too large for the broker @param replayed a header for records that come again; '': none */
  constructor(
    config: KafkaSinkConfig,
    clients: KafkaClients,
    keep: KeepPayload,
    log: Pick<Logger, 'error'>,
    replayed = '',
  ) {
    this.replayed = replayed;
    this.waiting = new WaitingTopics({
      list: () => topicsOf(clients),
      tell: (topic, reason) => {
        if (reason === '') log.error({ sink: config.name, topic }, NOT_THERE);
        else log.error({ sink: config.name, topic, reason }, 'a topic takes no records: they wait in the spool');
      },
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
    return this.waiting.some;
  }

  restore(): void {}

  async send(batch: Batch): Promise<Taken> {
    const { groups, refused: unreadable } = groupRecords(batch.records);
    const next = batch.next.record;
    let refused = unreadable;
    const outgoing: Made[] = [];
    for (const group of groups) {
      const topic = this.clients.topic(topicOf(group.model, group.kind));
      if (!this.waiting.wants(topic, next)) continue;
      await this.ensureTopic(topic);
      const messages = await this.messages(topic, group);
      refused += messages.refused;
      if (messages.list.length > 0) outgoing.push({ topic, group, messages: messages.list });
    }
    try {
      for (const request of requests(outgoing, MAX_BATCH_BYTES)) refused += await this.request(request, next);
    } catch (error) {
      if (!isMissing(error) || !(await this.waiting.learn(outgoing.map(({ topic }) => topic)))) throw error;
      return this.send(batch);
    }
    this.waiting.sent(next);
    return { settled: !this.waiting.some, refused };
  }

  async tick(now: number): Promise<Taken> {
    return (await this.waiting.again(now)) ? { ...NOTHING, again: true } : NOTHING;
  }

  note(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    await this.sender.close();
  }

  /** One request to the broker. Resolves with how many records it will never take. @param next as of `send` */
  private async request(all: readonly Made[], next: number): Promise<number> {
    // One may have been closed by a request before.
    const made = all.filter(({ topic }) => this.waiting.wants(topic, next));
    if (made.length === 0) return 0;
    const topicMessages = made.map(({ topic, messages }) => ({
      topic,
      messages: messages.map(({ message }) => message),
    }));
    try {
      await this.sender.send(topicMessages, this.compression);
      return 0;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      let refused = 0;
      // It is not said which of the topics it was.
      if (made.length > 1) for (const one of made) refused += await this.request([one], next);
      else refused += await this.refusedRequest(made[0], next, refusal);
      return refused;
    }
  }

  private async refusedRequest(made: Made, next: number, refusal: Refusal): Promise<number> {
    if (refusal === 'size') return this.oneByOne(made);
    if (refusal === 'time' && made.messages.some(({ message }) => message.timestamp !== undefined))
      return this.request([{ ...made, messages: made.messages.map(withoutTime) }], next);
    this.waiting.close(made.topic, REASONS[refusal]);
    return 0;
  }

  /**
   * For a request that the broker does not take because of its size. What is too large by itself goes without its values,
   * which are kept by reference. Resolves with how many records the broker will never take.
   */
  private async oneByOne({ topic, group, messages }: Made): Promise<number> {
    let refused = 0;
    const taken = async (one: Sized): Promise<boolean> => {
      try {
        await this.sender.send([{ topic, messages: [one.message] }], this.compression);
        return true;
      } catch (error) {
        const refusal = refusalOf(error);
        if (refusal === 'size') return false;
        if (refusal === 'time' && one.message.timestamp !== undefined) return taken(withoutTime(one));
        throw error;
      }
    };
    for (const each of messages) {
      if (await taken(each)) continue;
      const { records } = each;
      for (const record of records) {
        // Of a block each record has a second chance by itself.
        const tries = records.length > 1 ? [record, this.withoutValues(record)] : [this.withoutValues(record)];
        let arrived = false;
        for (const one of tries) {
          const [small] = (await this.messages(topic, { ...group, records: [one] })).list;
          arrived = small !== undefined && (await taken(small));
          if (arrived) break;
        }
        if (!arrived) refused++;
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
    } catch (error) {
      // It may be there all the same.
      if (refusalOf(error) !== 'rights') throw error;
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
      for (const { message } of made.list) message.headers = { ...message.headers, [REPLAYED_HEADER]: this.replayed };
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

/** With the time of sending. The record has its own, as ce_time has. */
function withoutTime({ message: { timestamp: _, ...message }, records }: Sized): Sized {
  return { message, records };
}
