import { feedbackRecords } from '../feedback.ts';
import type { FeedbackRecord, LogRecord, MessageReader } from '../record.ts';
import { readContainer } from './container-reader.ts';
import { readFeedbackJson, readRecordJson } from './json-reader.ts';
import { decodeFeedback, decodeRecord, readFeedbackRecord, readRecord } from './record-decoder.ts';

type Message = Parameters<MessageReader['records']>[0];

/** Before the record: a zero, and the schema's id. */
const FRAMING_BYTES = 5;

/** The records of a message of the Kafka sink, in whichever of its forms. Throws for what is none. */
export function recordsOfMessage(message: Message): LogRecord[] {
  const value = bytesIn(message);
  switch (contentOf(message)) {
    case 'block':
      return readContainer(value, (reader, kind) => {
        if (kind !== 'inference') throw new TypeError('a block of feedback');
        return readRecord(reader);
      });
    case 'avro':
      return [decodeRecord(value, FRAMING_BYTES)];
    case 'json':
      return [readRecordJson(value.toString('utf8'))];
  }
}

/** The same of feedback. */
export function feedbackOfMessage(message: Message): FeedbackRecord[] {
  const value = bytesIn(message);
  switch (contentOf(message)) {
    case 'block':
      return readContainer(value, (reader, kind) => {
        if (kind !== 'feedback') throw new TypeError('a block of requests');
        return readFeedbackRecord(reader);
      });
    case 'avro':
      return [decodeFeedback(value, FRAMING_BYTES)];
    case 'json':
      return [readFeedbackJson(value.toString('utf8'))];
  }
}

function bytesIn({ value }: Message): Buffer {
  if (value === null) throw new TypeError('an empty message');
  return value;
}

/** What a message of the Kafka sink holds, by its headers. */
export function contentOf({ headers }: Pick<Message, 'headers'>): 'block' | 'avro' | 'json' {
  if (headers?.['switchyard-records'] !== undefined) return 'block';
  return String(headers?.['content-type'] ?? '') === 'application/avro' ? 'avro' : 'json';
}

function recordsOfEvents(events: readonly unknown[], time: number): FeedbackRecord[] {
  return feedbackRecords(events, time, '').map((record, i) => {
    if (record === undefined) throw new TypeError(`event ${i} needs an id, and a label or a reward`);
    return record;
  });
}

export const MESSAGES: MessageReader = {
  records: recordsOfMessage,
  feedback: feedbackOfMessage,
  events: recordsOfEvents,
};
