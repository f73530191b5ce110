import type { Message, TopicMessages } from 'kafkajs';

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
export function* requests(all: readonly Outgoing[], maxBatchBytes: number): Iterable<TopicMessages[]> {
  let part: TopicMessages[] = [];
  let bytes = 0;
  for (const { topic, messages } of all) {
    let own: Message[] = [];
    let ownBytes = 0;
    for (const { message } of messages) {
      const size = (message.value?.length ?? 0) + BESIDE_VALUE_BYTES;
      const full = ownBytes + size > maxBatchBytes || bytes + size > MAX_REQUEST_BYTES;
      if (bytes > 0 && full) {
        if (own.length > 0) part.push({ topic, messages: own });
        yield part;
        part = [];
        own = [];
        bytes = 0;
        ownBytes = 0;
      }
      own.push(message);
      bytes += size;
      ownBytes += size;
    }
    if (own.length > 0) part.push({ topic, messages: own });
  }
  if (part.length > 0) yield part;
}
