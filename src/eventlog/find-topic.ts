import { randomBytes } from 'node:crypto';
import type { Consumer, KafkaMessage } from 'kafkajs';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import type { RecordSearch, RecordSource, TimeRange } from '../monitoring/record-search.ts';
import type { Logger } from '../telemetry/logging.ts';
import { recordJson } from './encode/json.ts';
import { contentOf, recordsOfMessage } from './encode/message-reader.ts';
import { factsOf } from './find.ts';

const MOST_MS = 120_000;

type Found = { json: string; place: string };

/**
 * Finds a record on the topics of models, where the log's only keeper is Kafka: reads from the first message of the time
 * on, in a consumer group of its own that is taken away again.
 */
export class TopicRecords implements RecordSource {
  private readonly config: KafkaConfig;
  private readonly models: () => readonly string[];
  private readonly logger: Logger;

  /** @param models whose topics are read */
  constructor(config: KafkaConfig, models: () => readonly string[], logger: Logger) {
    this.config = config;
    this.models = models;
    this.logger = logger;
  }

  /** Never rejects: what went wrong is among the problems. */
  async find(id: string, range: TimeRange): Promise<RecordSearch> {
    const answer: RecordSearch = { found: undefined, json: '', place: '', searched: [], oldest: null, problems: [] };
    try {
      const found = await this.search(id, range, answer);
      if (found !== undefined) return { ...answer, ...found, found: factsOf(found.json) };
    } catch (error) {
      answer.problems.push(`the topics cannot be read: ${(error as Error).message}`);
    }
    return answer;
  }

  private async search(id: string, range: TimeRange, answer: RecordSearch): Promise<Found | undefined> {
    const clients = await kafkaClients(this.config, this.logger);
    const group = `trace-${randomBytes(8).toString('hex')}`;
    const admin = clients.admin();
    await admin.connect();
    const consumer = clients.consumer(group, { maxWaitTimeInMs: 200 });
    try {
      const there = new Set(await admin.listTopics());
      const wanted = [...new Set(this.models())].map((model) => clients.topic(`${model}.inference`));
      const topics = wanted.filter((topic) => there.has(topic));
      answer.searched.push(...topics.map((topic) => `topic ${topic}`));
      const parts = new Map<string, Part>();
      for (const topic of topics) {
        const ends = await admin.fetchTopicOffsets(topic);
        const starts = range.from > 0 ? await admin.fetchTopicOffsetsByTimestamp(topic, Math.round(range.from)) : [];
        for (const { partition, low, high } of ends) {
          const start = starts.find((one) => one.partition === partition)?.offset ?? low;
          const from = BigInt(start) < BigInt(low) ? low : start;
          if (BigInt(from) < BigInt(high))
            parts.set(`${topic}/${partition}`, { topic, partition, from, end: BigInt(high) });
        }
      }
      return parts.size === 0 ? undefined : await read(consumer, parts, id, range, answer.problems);
    } finally {
      await consumer.disconnect().catch(() => {});
      // It committed nothing, and brokers forget empty groups by themselves too.
      await admin.deleteGroups([`${this.config.clientId}.${group}`]).catch(() => {});
      await admin.disconnect();
    }
  }
}

interface Part {
  topic: string;
  partition: number;
  from: string;
  end: bigint;
}

/** Reads each part until it is found, behind the time, or at what was its end. */
async function read(
  consumer: Consumer,
  parts: Map<string, Part>,
  id: string,
  range: TimeRange,
  problems: string[],
): Promise<Found | undefined> {
  await consumer.connect();
  const topics = [...new Set([...parts.values()].map(({ topic }) => topic))];
  await consumer.subscribe({ topics, fromBeginning: true });
  const wanted = [...parts.values()];
  return new Promise((resolve, reject) => {
    let ended = false;
    const over = (found: Found | undefined): void => {
      ended = true;
      clearTimeout(late);
      resolve(found);
    };
    const late = setTimeout(() => {
      problems.push(`the search of the topics ended after ${MOST_MS / 1000} s; say about when the request was`);
      over(undefined);
    }, MOST_MS);
    const running = consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        const key = `${batch.topic}/${batch.partition}`;
        const part = parts.get(key);
        if (part === undefined) return;
        for (const message of batch.messages) {
          const json = recordIn(message, id, problems);
          if (json !== undefined) return over({ json, place: `topic ${key}, offset ${message.offset}` });
          if (BigInt(message.offset) + 1n >= part.end || Number(message.timestamp) > range.to) {
            parts.delete(key);
            break;
          }
        }
        if (parts.size === 0) over(undefined);
      },
    });
    running.then(
      () => {
        // It may have been found already, among the first messages of all.
        if (!ended) for (const { topic, partition, from } of wanted) consumer.seek({ topic, partition, offset: from });
      },
      (error: unknown) => {
        clearTimeout(late);
        reject(error);
      },
    );
  });
}

function recordIn(message: KafkaMessage, id: string, problems: string[]): string | undefined {
  const { headers, value } = message;
  // A block's headers name none of its records.
  if (value === null || (contentOf(message) !== 'block' && String(headers?.ce_id ?? '') !== id)) return undefined;
  // As it came, with 64-bit integers that no number holds.
  if (value[0] === OPEN_BRACE) return value.toString('utf8').startsWith('{"id":') ? value.toString('utf8') : undefined;
  try {
    const record = recordsOfMessage(message).find((one) => one.id === id);
    return record === undefined ? undefined : recordJson(record);
  } catch (error) {
    const problem = `some messages cannot be read: ${(error as Error).message}`;
    if (!problems.includes(problem)) problems.push(problem);
    return undefined;
  }
}

const OPEN_BRACE = 0x7b;
