import { randomUUID } from 'node:crypto';
import type { Consumer, KafkaMessage } from 'kafkajs';
import { isFramed } from '../../kafka/avro-values.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { COMPRESSION } from '../../kafka/compression/pack.ts';
import { Sender } from '../../kafka/sender.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { parseBig } from '../../shared/exact-json.ts';
import type { Source } from '../batch.ts';
import { jsonValue } from '../cells.ts';
import { type Progress, type RawRow, type ReadOptions, typedRows, withProgress } from '../reading.ts';

export interface TopicRange {
  topic: string;
  /** Milliseconds since 1970; undefined: from the beginning. */
  from?: number | undefined;
  /** Records from this time on are left out; undefined: all that are there when the reading begins. */
  until?: number | undefined;
  maxRecords?: number | undefined;
}

/** Batches that wait for their reader; then the consumer waits. */
const MAX_WAITING = 2000;
/**
 * Offsets may be missing for good (compaction, transactions): the end is reached when so many answers of the brokers, over
 * so long a time, brought no record. A slow machine has slow answers, and loses nothing.
 */
const QUIET_FETCHES = 5;
const QUIET_MS = 15_000;
const SEND_ROWS = 1000;

/**
 * The records of a topic that are there now: JSON objects or Avro, one a record, with the fields `kafka_key`, `kafka_time`,
 * `kafka_partition` and `kafka_offset` beside their own. What is neither is rejected; its line is the offset.
 */
export async function readTopic(clients: KafkaClients, range: TopicRange, options: ReadOptions): Promise<Source> {
  const bounds = await boundsOf(clients, range);
  let bytes = 0;
  const rows = records(clients, range, bounds, valueRows(clients, parseBig), (count) => {
    bytes += count;
  });
  const source = await typedRows(rows, options);
  return withProgress(source, () => ({ bytes, totalBytes: undefined }), options.onProgress);
}

/** What a message holds. Rejects when it cannot be told now, and ends the reading. */
export type RowsOfMessage = (message: KafkaMessage, partition: number) => RawRow[] | Promise<RawRow[]>;

/** The same records untyped, one at a time, as whatever `rowsOf` makes of them. */
export async function* topicRecords(
  clients: KafkaClients,
  range: TopicRange,
  rowsOf: RowsOfMessage,
): AsyncGenerator<RawRow> {
  yield* records(clients, range, await boundsOf(clients, range), rowsOf, () => {});
}

interface Bound {
  partition: number;
  /** First offset, and the one behind the last. */
  first: bigint;
  end: bigint;
}

async function boundsOf(clients: KafkaClients, { topic, from, until }: TopicRange): Promise<Bound[]> {
  const admin = clients.admin();
  try {
    await admin.connect();
    const ends = await admin.fetchTopicOffsets(topic);
    const at = async (time: number | undefined): Promise<Map<number, bigint>> => {
      if (time === undefined) return new Map();
      const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, time);
      return new Map(offsets.map(({ partition, offset }) => [partition, BigInt(offset)]));
    };
    const [firsts, lasts] = [await at(from), await at(until)];
    return ends.map(({ partition, low, high }) => {
      const last = lasts.get(partition);
      return {
        partition,
        first: firsts.get(partition) ?? BigInt(low),
        end: last === undefined || last < 0n ? BigInt(high) : last,
      };
    });
  } catch (error) {
    const { message } = error as Error;
    if (message.includes('does not host this topic-partition'))
      throw new SwitchyardError('not_found', `Kafka has no topic ${JSON.stringify(topic)}; correct its name`);
    throw new SwitchyardError('unavailable', `the topic ${JSON.stringify(topic)} cannot be read: ${message}`, {
      cause: error,
    });
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

/** Rows handed from the consumer to whoever reads them, with as many waiting as are allowed. */
class Waiting {
  private rows: RawRow[] = [];
  private over = false;
  private failure: unknown;
  private wake = (): void => {};

  async put(rows: RawRow[]): Promise<void> {
    this.rows.push(...rows);
    this.wake();
    while (this.rows.length >= MAX_WAITING && !this.over) await this.changed();
  }

  get empty(): boolean {
    return this.rows.length === 0;
  }

  /** No more will come. */
  end(failure?: unknown): void {
    this.over = true;
    this.failure ??= failure;
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RawRow> {
    for (;;) {
      if (this.rows.length > 0) {
        const rows = this.rows;
        this.rows = [];
        this.wake();
        yield* rows;
      } else if (this.over) break;
      else await this.changed();
    }
    if (this.failure !== undefined) throw this.failure;
  }

  /** Both sides wait here, never at once: one for rows, the other for room. */
  private changed(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.wake;
      this.wake = () => {
        before();
        resolve();
      };
    });
  }
}

async function* records(
  clients: KafkaClients,
  { topic, maxRecords = Number.POSITIVE_INFINITY }: TopicRange,
  bounds: readonly Bound[],
  rowsOf: RowsOfMessage,
  onBytes: (bytes: number) => void,
): AsyncGenerator<RawRow> {
  const open = new Map(bounds.filter(({ first, end }) => first < end).map((bound) => [bound.partition, bound]));
  if (open.size === 0) return;
  const group = `datasets.${randomUUID()}`;
  const consumer = clients.consumer(group, { allowAutoTopicCreation: false });
  const waiting = new Waiting();
  let lastRecordAt = performance.now();
  let fetches = 0;
  const recordCame = (): void => {
    lastRecordAt = performance.now();
    fetches = 0;
  };
  consumer.on(consumer.events.FETCH, () => {
    fetches++;
    const over = fetches >= QUIET_FETCHES && performance.now() - lastRecordAt > QUIET_MS;
    if (over && waiting.empty) waiting.end();
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) waiting.end(new SwitchyardError('unavailable', `Kafka: ${payload.error.message}`));
    });
    await run(consumer, topic, open, waiting, rowsOf, (bytes) => {
      recordCame();
      onBytes(bytes);
    });
    for (const { partition, first } of open.values()) consumer.seek({ topic, partition, offset: String(first) });
    let given = 0;
    for await (const row of waiting) {
      if (given++ >= maxRecords) break;
      yield row;
    }
  } finally {
    waiting.end();
    await consumer.disconnect().catch(() => {});
  }
}

function run(
  consumer: Consumer,
  topic: string,
  open: Map<number, Bound>,
  waiting: Waiting,
  rowsOf: RowsOfMessage,
  onBytes: (bytes: number) => void,
): Promise<void> {
  return consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat }) => {
      const bound = open.get(batch.partition);
      if (bound === undefined) return;
      const rows: RawRow[] = [];
      let last = bound.first;
      for (const message of batch.messages) {
        const offset = BigInt(message.offset);
        last = offset + 1n;
        if (offset < bound.first || offset >= bound.end) continue;
        onBytes((message.value?.length ?? 0) + (message.key?.length ?? 0));
        try {
          rows.push(...(await rowsOf(message, batch.partition)));
        } catch (error) {
          waiting.end(error);
          return;
        }
      }
      if (rows.length > 0) await waiting.put(rows);
      // The reader may have taken its time.
      onBytes(0);
      await heartbeat();
      if (last < bound.end) return;
      open.delete(batch.partition);
      consumer.pause([{ topic, partitions: [batch.partition] }]);
      if (open.size === 0) waiting.end();
    },
  });
}

/**
 * A row of each message: what its JSON or Avro holds.
 * @param parse throws where it is no JSON
 */
export function valueRows(clients: KafkaClients, parse: (text: string) => unknown): RowsOfMessage {
  return async ({ value, key, timestamp, offset }, partition) => {
    const line = Number(offset);
    const place = {
      kafka_key: key?.toString() ?? null,
      kafka_time: new Date(Number(timestamp)),
      kafka_partition: partition,
      kafka_offset: line,
    };
    if (value === null) return [{ line, values: place, problem: 'a tombstone: it has no value, and deletes its key' }];
    let problem = 'the value is no JSON object';
    try {
      const parsed = isFramed(value) ? await clients.avro(value) : parse(value.toString());
      if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
        return [{ line, values: { ...parsed, ...place } }];
    } catch (error) {
      // Others are rejected below, as any value that is no object.
      if (!(error instanceof SyntaxError)) {
        if (!(error instanceof SwitchyardError) || error.code !== 'invalid_argument') throw error;
        problem = error.message;
      }
    }
    const raw = value.toString().slice(0, 4096);
    return [{ line, values: { ...place, raw }, problem }];
  };
}

/**
 * One record of JSON for each row, packed. Resolves with their number when the brokers have them all; rejects with
 * payload_too_large, and the row's number from 0 on, where one is more than the topic takes.
 */
export async function writeTopic(
  clients: KafkaClients,
  topic: string,
  key: string | undefined,
  source: Source,
  onProgress?: (progress: Progress) => void,
): Promise<number> {
  const sender = new Sender(() => clients.producer({ idempotent: true, maxInFlightRequests: 1 }));
  const { fields } = source.schema;
  const keyAt = key === undefined ? -1 : fields.findIndex(({ name }) => name === key);
  let rows = 0;
  try {
    for await (const batch of source.batches()) {
      for (let from = 0; from < batch.rows; from += SEND_ROWS) {
        const messages = Array.from({ length: Math.min(SEND_ROWS, batch.rows - from) }, (_, i) => {
          const row = fields.map(({ name, type }, c) => [name, jsonValue(batch.columns[c][from + i], type)]);
          const id = keyAt < 0 ? null : batch.columns[keyAt][from + i];
          return { key: id === null ? null : String(id), value: JSON.stringify(Object.fromEntries(row)) };
        });
        const [tooLarge] = await sender.sendAll(topic, messages, COMPRESSION.gzip);
        if (tooLarge !== undefined) {
          const bytes = Buffer.byteLength(messages[tooLarge].value);
          throw new SwitchyardError(
            'payload_too_large',
            `row ${rows + from + tooLarge} has ${bytes} bytes of JSON, more than the topic ${JSON.stringify(topic)} takes; raise its max.message.bytes, or leave columns out`,
          );
        }
      }
      rows += batch.rows;
      onProgress?.({ rows, bytes: 0, totalBytes: undefined });
    }
    return rows;
  } catch (error) {
    if (error instanceof SwitchyardError) throw error;
    throw new SwitchyardError(
      'unavailable',
      `the topic ${JSON.stringify(topic)} cannot be written: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  } finally {
    await sender.close();
  }
}
