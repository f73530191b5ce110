import type { KafkaMessage } from 'kafkajs';
import { isFramed } from '../../kafka/avro-values.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { parseExact } from '../../shared/exact-json.ts';
import { entityKey, type View } from '../documents/catalog.ts';
import type { Row } from '../store/online-store.ts';

/** Of the rows of a topic, those that delete. */
export function tombstonesIn(rows: readonly Row[]): number {
  return rows.reduce((sum, { values }) => (values === null ? sum + 1 : sum), 0);
}

/**
 * The row that a record without a value is: from its timestamp on the entity of its key has none. Rejects with
 * invalid_argument where the key names no entity of the view, and with unavailable while the schema registry is away.
 */
export async function tombstoneOf(
  view: View,
  { key, timestamp }: Pick<KafkaMessage, 'key' | 'timestamp'>,
  clients: Pick<KafkaClients, 'avro'>,
  now: number,
): Promise<Row> {
  if (key === null || key.length === 0)
    throw invalidArgument('the record has neither a value nor a key: it does not say whose values it deletes');
  const parts = isFramed(key) ? await clients.avro(key) : keyInText(view, key.toString('utf8'));
  return {
    key: entityKey(view, (name) => partOf(view, parts, name), 'the key: '),
    time: Math.min(Number(timestamp), now),
    values: null,
  };
}

/** The join keys as an object, or in the order of the entities as a list; one alone may stand for itself. */
function partOf({ joinKeys }: View, parts: unknown, name: string): unknown {
  if (Array.isArray(parts)) return parts[joinKeys.findIndex((each) => each.name === name)];
  if (typeof parts === 'object' && parts !== null)
    return Object.hasOwn(parts, name) ? Reflect.get(parts, name) : undefined;
  return joinKeys.length === 1 ? parts : undefined;
}

/** JSON, or the text itself. A key of type string that looks like a number is its digits. */
function keyInText({ joinKeys }: View, text: string): unknown {
  let parsed: unknown;
  try {
    parsed = parseExact(text);
  } catch {
    return text;
  }
  const plain = typeof parsed !== 'object' || parsed === null;
  return plain && typeof parsed !== 'string' && joinKeys[0].type === 'string' ? text : parsed;
}
