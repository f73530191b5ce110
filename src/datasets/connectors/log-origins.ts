import { createReadStream } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isReplayed, type MessageReader } from '../../eventlog/record.ts';
import { jsonOf } from '../../kafka/avro-json.ts';
import { isFramed } from '../../kafka/avro-values.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { topicsOf } from '../../kafka/topics.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { readEvents, toldOf } from '../../shared/feedback-events.ts';
import { decode } from '../formats/formats.ts';
import { textLines } from '../formats/json-lines.ts';
import type { RawRow } from '../reading.ts';
import { type RowsOfMessage, topicRecords } from './kafka.ts';
import type { LogTopics } from './log-topics.ts';

/** Where the event log's records lie. The values of a row are a record's; of a Parquet file what is nested is JSON text. */
export interface LogOrigin {
  inference(): AsyncIterable<RawRow>;
  feedback(): AsyncIterable<RawRow>;
  /** Feedback that lies apart since it names no model: of the requests of all. Absent: there is none. */
  unmatched?(): AsyncIterable<RawRow>;
}

type Kind = 'inference' | 'feedback';

/** The files that a sink of kind `files` wrote, JSON lines or Parquet, from the oldest on. */
export function filesOrigin(folder: string, reader: MessageReader): LogOrigin {
  async function* rows(kind: Kind): AsyncGenerator<RawRow> {
    const beside = await readdir(folder, { withFileTypes: true }).catch(() => {
      throw new SwitchyardError('not_found', `the event log has written no files in ${folder}; see eventLog.sinks`);
    });
    // Those of partitions lie in folders of their own.
    const below = await readdir(join(folder, kind), { recursive: true, withFileTypes: true }).catch(() => []);
    const files = [...beside, ...below]
      .filter((entry) => entry.isFile() && entry.name.startsWith(`${kind}-`))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { parentPath, name } of files) {
      const path = join(parentPath, name);
      if (name.endsWith('.parquet')) yield* parquetRows(path, name);
      else if (name.endsWith('.jsonl')) yield* lineRows(path, name, rowsIn(kind, reader));
    }
  }
  return { inference: () => rows('inference'), feedback: () => rows('feedback') };
}

/**
 * The topics that a sink of kind `kafka` writes, in any of its forms; feedback also as others write it, as Avro of their own.
 * What a replay sent once more is left out, as in files. The topic of unmatched feedback is made with its first record, so
 * there is nothing in one that is not there. Rejects with unavailable when the brokers cannot be reached.
 */
export async function topicsOrigin(
  clients: KafkaClients,
  { inference, feedback, unmatched }: LogTopics,
  reader: MessageReader,
): Promise<LogOrigin> {
  const rows = (kind: Kind, topic: string): AsyncIterable<RawRow> => {
    const read = rowsIn(kind, reader);
    const rowsOf: RowsOfMessage = async (message, partition) => {
      const place = `${topic}/${partition}`;
      const { value, headers } = message;
      if (isReplayed(headers)) return [];
      // The sink's own have a content type; without one they are events that others wrote by a schema of theirs.
      const others =
        kind === 'feedback' && value !== null && isFramed(value) && headers?.['content-type'] === undefined;
      if (!others) return read(message, place, Number(message.offset));
      return eventRows(clients, reader, { ...message, value }, place);
    };
    return topicRecords(clients, { topic }, rowsOf);
  };
  const apart = unmatched !== undefined && (await isThere(clients, unmatched)) ? unmatched : undefined;
  return {
    inference: () => rows('inference', inference),
    feedback: () => rows('feedback', feedback),
    ...(apart === undefined ? {} : { unmatched: () => rows('feedback', apart) }),
  };
}

async function isThere(clients: KafkaClients, topic: string): Promise<boolean> {
  try {
    return (await topicsOf(clients)).includes(topic);
  } catch (error) {
    throw new SwitchyardError(
      'unavailable',
      `whether Kafka has the topic ${JSON.stringify(topic)} cannot be told: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** Rejects while the registry cannot be asked; what is no event is a row that says why. */
async function eventRows(
  clients: KafkaClients,
  reader: MessageReader,
  { value, offset, timestamp }: { value: Buffer; offset: string; timestamp: string },
  source: string,
): Promise<RawRow[]> {
  const line = Number(offset);
  try {
    const events = readEvents(jsonOf(await clients.avro(value)));
    const told = events.map((event) => (typeof event === 'object' && event !== null ? toldOf(event) : event));
    return reader.events(told, Number(timestamp)).map((record) => ({ source, line, values: { ...record } }));
  } catch (error) {
    if (error instanceof SwitchyardError && error.code !== 'invalid_argument') throw error;
    const problem = `no events: ${(error as Error).message.slice(0, 200)}`;
    return [{ source, line, values: { raw: value.toString('base64', 0, 3072) }, problem }];
  }
}

type Read = (message: Parameters<MessageReader['records']>[0], source: string, line: number) => RawRow[];

/** The records of a message, or the one row that says why it is none. */
function rowsIn(kind: Kind, reader: MessageReader): Read {
  return (message, source, line) => {
    try {
      const records = kind === 'inference' ? reader.records(message) : reader.feedback(message);
      return records.map((record) => ({ source, line, values: { ...record } }));
    } catch (error) {
      const raw = message.value?.toString('utf8', 0, 4096) ?? '';
      const problem = `no record of the event log: ${(error as Error).message.slice(0, 200)}`;
      return [{ source, line, values: { raw }, problem }];
    }
  };
}

/** What the file holds now. Its last line may still be being written: then it is no row yet. */
async function* lineRows(path: string, name: string, read: Read): AsyncGenerator<RawRow> {
  const { size, whole } = await extent(path);
  if (size === 0) return;
  let last: RawRow | undefined;
  for await (const { text, line } of textLines(createReadStream(path, { end: size - 1 }))) {
    if (last !== undefined) yield last;
    [last] = read({ value: Buffer.from(text), headers: {} }, name, line);
  }
  if (last !== undefined && (whole || last.problem === undefined)) yield last;
}

/** Bytes of a file, and whether they end with a line. */
async function extent(path: string): Promise<{ size: number; whole: boolean }> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const { buffer } = await file.read({ buffer: Buffer.alloc(1), position: Math.max(0, size - 1) });
    return { size, whole: buffer[0] === 0x0a };
  } finally {
    await file.close();
  }
}

async function* parquetRows(path: string, name: string): AsyncGenerator<RawRow> {
  const { schema, batches } = await decode('parquet', { name, file: path });
  let line = 0;
  for await (const { rows, columns } of batches())
    for (let row = 0; row < rows; row++)
      yield {
        source: name,
        line: ++line,
        values: Object.fromEntries(schema.fields.map((field, i) => [field.name, columns[i][row]])),
      };
}
