import type { Message } from 'kafkajs';

/** Below a broker's usual limit of 1 MiB, which holds for all that a request has for one partition. */
export const MAX_BATCH_BYTES = 900 * 1024;
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
 * @param bytesOf about what a message takes
 */
export function* requests<T extends Outgoing>(
  all: readonly T[],
  maxBatchBytes: number,
  bytesOf: (message: Message) => number = bytesOfValue,
): Iterable<T[]> {
  let part: T[] = [];
  let bytes = 0;
  for (const whole of all) {
    let from = 0;
    let ownBytes = 0;
    const { messages } = whole;
    for (let i = 0; i < messages.length; i++) {
      const size = bytesOf(messages[i].message);
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

function bytesOfValue({ value }: Message): number {
  return (value?.length ?? 0) + BESIDE_VALUE_BYTES;
}

/** Of messages whose keys and headers may be anything. */
export function bytesOfMessage({ key, value, headers = {} }: Message): number {
  let bytes = BESIDE_VALUE_BYTES + bytesOfPart(key) + bytesOfPart(value);
  for (const [name, header] of Object.entries(headers))
    for (const part of [header].flat()) bytes += name.length + bytesOfPart(part);
  return bytes;
}

function bytesOfPart(part: string | Buffer | null | undefined): number {
  if (part === null || part === undefined) return 0;
  return typeof part === 'string' ? Buffer.byteLength(part) : part.length;
}
