import type { KafkaMessage } from 'kafkajs';
import { isFramed } from '../../kafka/avro-values.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import type { DeadLetter } from '../../kafka/dead-letters.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { readAvroRecord, readRecord, type TopicResult } from './reward-record.ts';

/** What became of one event of a topic: what feedback says, or `recorded` where only the event log takes it. */
export interface TopicEvent {
  id: string;
  result: string;
  message?: string;
}

/** Results in the order of the events. Rejects when the events must come again. */
export type TakeEvents = (events: readonly unknown[]) => Promise<TopicEvent[]>;

export interface TakenBatch {
  /** What became of each event, and of each record that holds none. */
  results: string[];
  /** Records that no one can ever use, or not all of. */
  letters: DeadLetter[];
}

/** A record without a value: it says that what has its key is to be forgotten, and nothing was kept by keys. */
export const TOMBSTONE = 'tombstone';

const NO_RECORD: Partial<Record<TopicResult, string>> = {
  empty: 'the record is empty',
  notJson: 'the record is not JSON',
  malformed: 'the record is neither an event nor a list of events',
  tooManyEvents: 'the record has too many events; write at most 10,000 into one',
};
/** What sending the event again can not mend. */
const WRONG: ReadonlySet<string> = new Set(['malformed', 'notANumber', 'outOfRange']);

/**
 * Takes what records of a topic hold, JSON or Avro, as POST /switchyard/v1/feedback does. A record with a wrong event is a dead letter, and
 * its other events are taken all the same. Rejects when the batch must come again.
 */
export async function takeBatch(
  topic: string,
  partition: number,
  messages: readonly KafkaMessage[],
  clients: Pick<KafkaClients, 'avro'>,
  take: TakeEvents,
): Promise<TakenBatch> {
  const events: unknown[] = [];
  const results: string[] = [];
  const letters: DeadLetter[] = [];
  const holders: { message: KafkaMessage; first: number; end: number }[] = [];
  for (const message of messages) {
    if (message.value === null) {
      results.push(TOMBSTONE);
      continue;
    }
    const place = `${topic}/${partition}/${message.offset}`;
    const { record, reason } = await read(message.value, place, clients);
    if (typeof record === 'string') {
      results.push(record);
      letters.push({ message, code: 'invalid_argument', reason: reason ?? NO_RECORD[record] ?? record });
      continue;
    }
    holders.push({ message, first: events.length, end: events.length + record.length });
    events.push(...record);
  }
  const taken = await take(events);
  for (const { result } of taken) results.push(result);
  for (const { message, first, end } of holders) {
    const at = taken.slice(first, end).findIndex(({ result }) => WRONG.has(result));
    if (at < 0) continue;
    const { result, message: why = result } = taken[first + at];
    const reason = end - first === 1 ? why : `event ${at}: ${why}`;
    letters.push({ message, code: 'invalid_argument', reason });
  }
  return { results, letters };
}

/** Rejects while the schema registry is away: nothing is known of the record then. */
async function read(
  value: Buffer,
  place: string,
  clients: Pick<KafkaClients, 'avro'>,
): Promise<{ record: unknown[] | TopicResult; reason?: string }> {
  if (!isFramed(value)) return { record: readRecord(value, place) };
  try {
    return { record: readAvroRecord(await clients.avro(value), place) };
  } catch (error) {
    if (!(error instanceof SwitchyardError) || error.code !== 'invalid_argument') throw error;
    return { record: 'notAvro', reason: error.message };
  }
}
