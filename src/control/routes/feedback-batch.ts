import type { KafkaMessage } from 'kafkajs';
import type { DeadLetter } from '../../kafka/dead-letters.ts';
import { readRecord, type TopicResult } from './reward-record.ts';

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

const NO_RECORD: Partial<Record<TopicResult, string>> = {
  empty: 'the record is empty',
  notJson: 'the record is not JSON',
  malformed: 'the record is neither an event nor a list of events',
  tooManyEvents: 'the record has too many events; write at most 10,000 into one',
};
/** What sending the event again can not mend. */
const WRONG: ReadonlySet<string> = new Set(['malformed', 'notANumber', 'outOfRange']);

/**
 * Takes what records of a topic hold, as POST /switchyard/v1/feedback does. A record with a wrong event is a dead letter, and
 * its other events are taken all the same. Rejects when the batch must come again.
 */
export async function takeBatch(
  topic: string,
  partition: number,
  messages: readonly KafkaMessage[],
  take: TakeEvents,
): Promise<TakenBatch> {
  const events: unknown[] = [];
  const results: string[] = [];
  const letters: DeadLetter[] = [];
  const holders: { message: KafkaMessage; first: number; end: number }[] = [];
  for (const message of messages) {
    const record = readRecord(message.value, `${topic}/${partition}/${message.offset}`);
    if (typeof record === 'string') {
      results.push(record);
      letters.push({ message, code: 'invalid_argument', reason: NO_RECORD[record] ?? record });
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
