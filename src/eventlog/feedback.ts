import { randomUUID } from 'node:crypto';
import type { FeedbackRecord } from './record.ts';

/** What became of each event, in their order. */
export interface FeedbackAnswer {
  /** Somebody learns from them. */
  accepted: number;
  /** Somebody may: another gateway. */
  forwarded: number;
  /** Nobody learns from them, but the log keeps them. */
  recorded: number;
  rejected: number;
  results: { id: string; result: string; message?: string }[];
}

const MAX_LABEL = 64 * 1024;
const MAX_REWARDS = 64;
/** Of ids of requests and of events. */
const MAX_ID = 256;

/**
 * As the log keeps them. Undefined where an event is none: neither a reward nor a label. An event without an id of its own
 * gets one, so that a consumer tells it from the others about the same request, and from itself when it comes again.
 * @param tenant who sent them; '': they are for all tenants
 */
export function feedbackRecords(
  events: readonly unknown[],
  now: number,
  tenant: string,
): (FeedbackRecord | undefined)[] {
  return events.map((event) => readOne(event, now, tenant));
}

function readOne(value: unknown, now: number, tenant: string): FeedbackRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, reward, rewards, label, model, route, event } = value as Record<string, unknown>;
  if (typeof id !== 'string' || id === '' || id.length > MAX_ID) return undefined;
  if (event !== undefined && (typeof event !== 'string' || event.length > MAX_ID)) return undefined;
  const numbers: Record<string, number> = Object.create(null);
  if ((typeof reward === 'number' && Number.isFinite(reward)) || typeof reward === 'boolean')
    numbers.reward = Number(reward);
  if (typeof rewards === 'object' && rewards !== null && !Array.isArray(rewards)) {
    for (const [name, number] of Object.entries(rewards).slice(0, MAX_REWARDS))
      if (typeof number === 'number' && Number.isFinite(number) && name.length <= 128) numbers[name] = number;
  }
  const text = label === undefined ? undefined : JSON.stringify(label);
  if (text !== undefined && text.length > MAX_LABEL) return undefined;
  if (Object.keys(numbers).length === 0 && text === undefined) return undefined;
  const name = (given: unknown): string => (typeof given === 'string' && given.length <= 128 ? given : '');
  return {
    id,
    time: now,
    route: name(route),
    model: name(model),
    rewards: numbers,
    ...(text === undefined ? {} : { label: text }),
    event: event || randomUUID(),
    tenant,
  };
}

/**
 * An event that nothing learns from, but that the log keeps, was taken too. One that the log should have kept and did not
 * was not taken, unless it is a reward that somebody learnt from.
 */
export function mergeResults<T extends { id: string; result: string }>(
  learnt: readonly T[],
  records: readonly (FeedbackRecord | undefined)[],
  kept: boolean,
): (T | FeedbackAnswer['results'][number])[] {
  return learnt.map((entry, i) => {
    const record = records[i];
    if (record === undefined) return entry;
    if (kept) return FOR_NOBODY.has(entry.result) ? { id: entry.id, result: 'recorded' } : entry;
    if (entry.result === 'accepted' && record.label === undefined) return entry;
    return { id: entry.id, result: 'notKept', message: NOT_KEPT };
  });
}

/** Results of events that no bandit and no experiment waits for. */
const FOR_NOBODY = new Set(['unknown', 'malformed', 'notANumber']);
const NOT_KEPT = 'the event log can keep nothing at this moment; send the event again later';

export function answerOf(results: FeedbackAnswer['results']): FeedbackAnswer {
  const of = (which: string): number => results.filter(({ result }) => result === which).length;
  const [accepted, forwarded, recorded] = [of('accepted'), of('forwarded'), of('recorded')];
  const rejected = results.length - accepted - forwarded - recorded;
  return { accepted, forwarded, recorded, rejected, results };
}
