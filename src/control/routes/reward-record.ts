import { parseFeedback } from '../../shared/feedback-events.ts';
import type { EventResult } from './feedback.ts';

/** What becomes of a record of a topic: of its events, or of the record as a whole when it holds none. */
export type TopicResult = EventResult | 'empty' | 'notJson' | 'tooManyEvents';

const MAX_EVENTS = 10_000;

/**
 * The events of one record: JSON of an event, a list of events or {"events": [...]}, as feedback takes them over HTTP.
 * An event without an id of its own gets the record's place, so that a record that comes again counts once.
 * @returns what is wrong with the record, or its events; those are looked at one by one later.
 */
export function readRecord(value: Buffer | null, place: string): unknown[] | TopicResult {
  if (value === null || value.length === 0) return 'empty';
  let body: unknown;
  try {
    body = parseFeedback(value.toString('utf8'));
  } catch {
    return 'notJson';
  }
  if (typeof body !== 'object' || body === null) return 'malformed';
  const list = Array.isArray(body) ? body : 'events' in body ? body.events : [body];
  if (!Array.isArray(list)) return 'malformed';
  if (list.length > MAX_EVENTS) return 'tooManyEvents';
  return list.map((event, i) =>
    typeof event === 'object' && event !== null && !('event' in event) ? { ...event, event: `${place}/${i}` } : event,
  );
}
