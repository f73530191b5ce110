import type { KafkaClients } from '../../kafka/client.ts';
import { parseExact } from '../../shared/exact-json.ts';
import type { View } from '../documents/catalog.ts';

export interface TopicValue {
  /** Undefined: the record is no JSON object. */
  value: Record<string, unknown> | undefined;
  offset: number;
  /** The record's timestamp, milliseconds since 1970. */
  arrived: number;
}

/**
 * What a view's topic holds now, if its records are this tenant's. Rejects with unavailable when the brokers cannot be
 * reached.
 */
export async function* topicValues(
  view: View,
  tenant: string,
  clients: KafkaClients | undefined,
): AsyncGenerator<TopicValue> {
  const { kafka } = view.document.spec.source;
  if (kafka === undefined || clients === undefined || !(view.shared || kafka.tenant === tenant)) return;
  // Nobody pays for it who has no topics.
  const { topicRows } = await import('../../datasets/connectors/kafka.ts');
  for await (const { line, values, problem } of topicRows(clients, { topic: clients.topic(kafka.topic) }, parseExact)) {
    const arrived = (values.kafka_time as Date).getTime();
    yield { value: problem === undefined ? values : undefined, offset: line, arrived };
  }
}
