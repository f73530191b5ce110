import type { KafkaMessage } from 'kafkajs';
import { isFramed } from '../../kafka/avro-values.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { parseExact } from '../../shared/exact-json.ts';

/** What a record holds: JSON, or Avro. Rejects for anything else, and with unavailable while the registry is away. */
export async function recordOf(clients: KafkaClients, { value }: Pick<KafkaMessage, 'value'>): Promise<unknown> {
  if (value === null) return undefined;
  if (isFramed(value)) return clients.avro(value);
  try {
    return parseExact(value.toString('utf8'));
  } catch (error) {
    throw new Error(`the record is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
}

/** A registry that is away: the batch comes again, and nothing of it is set aside. */
export function isAway(error: unknown): boolean {
  return error instanceof SwitchyardError && error.code === 'unavailable';
}
