import { invalidArgument } from './errors.ts';

export const MAX_EVENTS = 10_000;

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
