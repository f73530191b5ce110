import type { RawRow } from '../../datasets/reading.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { parseExact } from '../../shared/exact-json.ts';
import type { View } from '../documents/catalog.ts';
import { isAway } from '../ingest/records.ts';
import { tombstoneOf } from '../ingest/tombstones.ts';
import type { Row } from '../store/online-store.ts';

export interface TopicValue {
  /** Undefined: the record is no JSON object. */
  value: Record<string, unknown> | undefined;
  offset: number;
  /** The record's timestamp, milliseconds since 1970. */
  arrived: number;
  /** The record has no value. Of rows: what it deletes, or why that cannot be told. */
  tombstone?: { deleted?: Row; problem?: string };
}

/**
 * What a view's topic holds now, if its records are this tenant's. Rejects with unavailable when the brokers cannot be
 * reached.
 */
export async function* topicValues(
  view: View,
  tenant: string,
  clients: KafkaClients | undefined,
  now: number,
): AsyncGenerator<TopicValue> {
  const { kafka } = view.document.spec.source;
  if (kafka === undefined || clients === undefined || !(view.shared || kafka.tenant === tenant)) return;
  // Nobody pays for it who has no topics.
  const { topicRecords, valueRows } = await import('../../datasets/connectors/kafka.ts');
  const read = valueRows(clients, parseExact);
  const tombstones = new WeakMap<RawRow, NonNullable<TopicValue['tombstone']>>();
  const rows = topicRecords(clients, { topic: clients.topic(kafka.topic) }, async (message, partition) => {
    const found = await read(message, partition);
    if (message.value !== null) return found;
    const tombstone: NonNullable<TopicValue['tombstone']> = {};
    if (view.windows === undefined)
      try {
        tombstone.deleted = await tombstoneOf(view, message, clients, now);
      } catch (error) {
        if (isAway(error)) throw error;
        tombstone.problem = (error as Error).message;
      }
    for (const row of found) tombstones.set(row, tombstone);
    return found;
  });
  for await (const row of rows) {
    const { line, values, problem } = row;
    const arrived = (values.kafka_time as Date).getTime();
    const tombstone = tombstones.get(row);
    yield {
      ...{ value: problem === undefined ? values : undefined, offset: line, arrived },
      ...(tombstone === undefined ? {} : { tombstone }),
    };
  }
}
