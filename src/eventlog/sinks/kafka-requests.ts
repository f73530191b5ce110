import type { Message } from 'kafkajs';

/** One request to the broker. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** Of a message, beside its value: about what its key and its headers take. */
const BESIDE_VALUE_BYTES = 400;

export interface Outgoing {
  topic: string;
  messages: readonly { message: Message }[];
}

/**
 * Cuts messages into requests of a bounded size. What a request has for a topic may all be for one partition, and a broker's
 * limit of a message holds for all of that together: `maxBatchBytes`. A message that is larger by itself is in a request
 * by itself.
 */
export function* requests<T extends Outgoing>(all: readonly T[], maxBatchBytes: number): Iterable<T[]> {
  let part: T[] = [];
  let bytes = 0;
  for (const whole of all) {
    let from = 0;
    let ownBytes = 0;
    const { messages } = whole;
    for (let i = 0; i < messages.length; i++) {
      const size = (messages[i].message.value?.length ?? 0) + BESIDE_VALUE_BYTES;
      const full = ownBytes + size > maxBatchBytes || bytes + size > MAX_REQUEST_BYTES;
      if (bytes > 0 && full) {
        if (i > from) part.push({ ...whole, messages: messages.slice(from, i) });
        yield part;
        part = [];
        from = i;
        bytes = 0;
        ownBytes = 0;
      }
      bytes += size;
      ownBytes += size;
    }
    if (messages.length > from) part.push({ ...whole, messages: messages.slice(from) });
  }
  if (part.length > 0) yield part;
}
