import { readEvents } from '../shared/feedback-events.ts';
import type { FeedbackRecord } from './record.ts';

/** What became of each event, in their order. */
export interface FeedbackAnswer {
  accepted: number;
  rejected: number;
  results: { id: string; result: string; message?: string }[];
}

const MAX_LABEL = 64 * 1024;
const MAX_REWARDS = 64;

/** Undefined where an event is none: neither a reward nor a label. Throws invalid_argument for what is no list of events. */
export function readFeedback(body: unknown, now: number): (FeedbackRecord | undefined)[] {
  return readEvents(body).map((event) => readOne(event, now));
}

function readOne(value: unknown, now: number): FeedbackRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, reward, rewards, label, model, route } = value as Record<string, unknown>;
  if (typeof id !== 'string' || id === '' || id.length > 256) return undefined;
  const numbers: Record<string, number> = Object.create(null);
  if (typeof reward === 'number' || typeof reward === 'boolean') numbers.reward = Number(reward);
  if (typeof rewards === 'object' && rewards !== null && !Array.isArray(rewards)) {
    for (const [name, number] of Object.entries(rewards).slice(0, MAX_REWARDS))
      if (typeof number === 'number' && name.length <= 128) numbers[name] = number;
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
  };
}

/** An event that nothing learns from, but that the log keeps, was taken too. */
export function mergeAnswer(learnt: FeedbackAnswer, events: readonly (FeedbackRecord | undefined)[]): FeedbackAnswer {
  const results = learnt.results.map((entry, i) => {
    const kept =
      events[i] !== undefined &&
      (entry.result === 'unknown' || entry.result === 'malformed' || entry.result === 'notANumber');
    return kept ? { id: entry.id, result: 'recorded' } : entry;
  });
  const accepted = results.filter(({ result }) => TAKEN.has(result)).length;
  return { accepted, rejected: results.length - accepted, results };
}

const TAKEN = new Set(['accepted', 'forwarded', 'recorded']);
