import { invalidArgument } from './errors.ts';

export const MAX_EVENTS = 10_000;

/** Numbers that Python's json.dumps writes and JSON does not have, outside of texts. */
const NO_NUMBERS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\bInfinity\b|\bNaN\b/g;

/**
 * JSON in which NaN and ±Infinity may stand for numbers, so that one such reward does not spoil all that are sent with it:
 * NaN becomes null, which is no number either. Throws SyntaxError.
 */
export function parseFeedback(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(
      text.replace(NO_NUMBERS, (token) =>
        token[0] === '"' ? token : token === 'NaN' ? 'null' : token.replace('Infinity', '1e999'),
      ),
    );
  }
}

/** What an event of Avro tells: there every field of the schema stands, with null for what is left out. */
export function toldOf(event: object): object {
  const fields = Object.entries(event).filter(([, value]) => value !== null);
  return Object.fromEntries(
    fields.map(([name, value]) => [name, name === 'rewards' && typeof value === 'object' ? toldOf(value) : value]),
  );
}

/**
 * Whether what a tenant told is about a request that it made itself. '' names none: of what is told for all tenants, on the
 * admin port or by a topic, and of requests whose tenant is not on record.
 */
export function isOfTenant(teller: string, asker: string): boolean {
  return teller === '' || asker === '' || teller === asker;
}

/** `{"events": [...]}`, a list, or one event by itself. Throws invalid_argument when it is none of these. */
export function readEvents(body: unknown): unknown[] {
  if (typeof body !== 'object' || body === null)
    throw invalidArgument('send {"events": [{"id": …, "reward": …}]}, or one such event');
  const list = Array.isArray(body) ? body : 'events' in body ? body.events : [body];
  if (!Array.isArray(list)) throw invalidArgument('events: must be a list of {"id": …, "reward": …}');
  if (list.length > MAX_EVENTS)
    throw invalidArgument(
      `${list.length} events in one request; send at most ${MAX_EVENTS} and the rest in further ones`,
    );
  return list;
}
