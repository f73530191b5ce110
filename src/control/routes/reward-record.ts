import { jsonOf } from '../../kafka/avro-json.ts';
import { parseFeedback, toldOf } from '../../shared/feedback-events.ts';
import type { EventResult } from './feedback.ts';

/** What becomes of a record of a topic: of its events, or of the record as a whole when it holds none. */
export type TopicResult = EventResult | 'empty' | 'notJson' | 'notAvro' | 'tooManyEvents';

const MAX_EVENTS = 10_000;

/**
 * The events of one record: JSON of an event, a list of events or {"events": [...]}, as feedback takes them over HTTP.
 * An event without an id of its own gets the record's place, so that a record that comes again counts once.
 * @returns what is wrong with the record, or its events; those are looked at one by one later.
 */
export function readRecord(value: Buffer, place: string): unknown[] | TopicResult {
  if (value.length === 0) return 'empty';
  let body: unknown;
  try {
    body = parseFeedback(value.toString('utf8'));
  } catch {
    return 'notJson';
  }
  return eventsIn(body, place);
}

/** The same of what a record of Avro held. */
export function readAvroRecord(value: unknown, place: string): unknown[] | TopicResult {
  return eventsIn(jsonOf(value), place, toldOf);
}

function eventsIn(body: unknown, place: string, form = (event: object): object => event): unknown[] | TopicResult {
  if (typeof body !== 'object' || body === null) return 'malformed';
  const list = Array.isArray(body) ? body : 'events' in body ? body.events : [body];
  if (!Array.isArray(list)) return 'malformed';
  if (list.length > MAX_EVENTS) return 'tooManyEvents';
  return list.map((each: unknown, i) => {
    if (typeof each !== 'object' || each === null) return each;
    const event = form(each);
    return 'event' in event ? event : { ...event, event: `${place}/${i}` };
  });
}
