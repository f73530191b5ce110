import { createRequire } from 'node:module';
import { checksum } from '../tensor/checksum.ts';
import { COMPRESSION, packerOf } from './compression/pack.ts';
import { type PlainRecord, recordBytes, varintBytes, writeRecord } from './record-format.ts';

const load = createRequire(import.meta.url);

/** The version whose parts are replaced: another one is left as it is. */
const VERSION = '2.2.4';
const PRODUCE = 'kafkajs/src/protocol/requests/produce/v3/request';
const FRAME = 'kafkajs/src/protocol/request';
const GROUP = 'kafkajs/src/producer/groupMessagesPerPartition';

/** Of a batch: from the leader's epoch on up to the records, and of that up to what the checksum covers. */
const BATCH_HEAD_BYTES = 49;
const UNCHECKED_BYTES = 9;

type Whole = number | bigint | { toString(): string };

/** A message as kafkajs hands it over. `timestamp`: milliseconds, in decimal. */
type Timed = PlainRecord & { timestamp?: string };

export interface ProduceRequest {
  acks: number;
  timeout: number;
  transactionalId?: string | null;
  producerId?: Whole;
  producerEpoch?: number;
  compression?: number;
  topicData: {
    topic: string;
    partitions: {
      partition: number;
      firstSequence?: number;
      messages: Timed[];
    }[];
  }[];
}

/** What kafkajs asks of an encoder that it copies from. */
interface Encoded {
  buf: Buffer;
  buffer: Buffer;
  size(): number;
}

type Request = { apiKey: number; apiVersion: number; encode(): Promise<Encoded> } & Record<string, unknown>;

let installed = false;

/**
 * kafkajs makes an encoder of half a kilobyte for each header of each record, copies a batch nine times, takes its
 * checksum byte by byte, and groups messages in quadratic time: most of what a record costs. What replaces that gives the same bytes for a fraction of it, and
 * compresses on the thread that sends, which may have been told to give way: a pool of threads has not. Call it before
 * kafkajs is first loaded.
 */
export function speedUpEncoding(): void {
  if (installed) return;
  installed = true;
  const { version } = load('kafkajs/package.json') as { version: string };
  if (version !== VERSION) return;
  const original = load(PRODUCE) as (request: ProduceRequest) => Request;
  replace(PRODUCE, (request: ProduceRequest) => {
    const whole = original(request);
    return { ...whole, encode: async () => (await encodeProduce(request)) ?? (await whole.encode()) };
  });
  replace(FRAME, frame);
  replace(GROUP, byPartition);
}

function replace(name: string, by: unknown): void {
  load(name);
  const module = load.cache[load.resolve(name)];
  if (module !== undefined) module.exports = by;
}

/** What kafkajs does by copying all earlier messages of a partition for each one. */
export function byPartition<T>(of: {
  topic: string;
  partitionMetadata: readonly unknown[];
  messages: readonly T[];
  partitioner(asked: { topic: string; partitionMetadata: readonly unknown[]; message: T }): number;
}): Record<number, T[]> {
  const { topic, partitionMetadata, messages, partitioner } = of;
  const groups: Record<number, T[]> = {};
  if (partitionMetadata.length === 0) return groups;
  for (const message of messages) {
    const partition = partitioner({ topic, partitionMetadata, message });
    groups[partition] ??= [];
    groups[partition].push(message);
  }
  return groups;
}

function encoded(buffer: Buffer): Encoded {
  return { buf: buffer, buffer, size: () => buffer.length };
}

/** A request as it goes to the socket: its length, what it is, and its payload. */
async function frame(of: { correlationId: number; clientId: string | null; request: Request }): Promise<Encoded> {
  const { correlationId, clientId, request } = of;
  const { buffer: payload } = await request.encode();
  const client = clientId === null ? undefined : Buffer.from(clientId);
  const head = 4 + 2 + 2 + 4 + 2 + (client?.length ?? 0);
  const out = Buffer.allocUnsafeSlow(head + payload.length);
  out.writeInt32BE(out.length - 4, 0);
  out.writeInt16BE(request.apiKey, 4);
  out.writeInt16BE(request.apiVersion, 6);
  out.writeInt32BE(correlationId, 8);
  out.writeInt16BE(client?.length ?? -1, 12);
  if (client !== undefined) out.set(client, 14);
  out.set(payload, head);
  return encoded(out);
}

/** A produce request of version 3 and above. Undefined: it has parts that are left to kafkajs. */
export async function encodeProduce(request: ProduceRequest, now: number = Date.now()): Promise<Encoded | undefined> {
  const { acks, timeout, transactionalId = null, topicData, compression = COMPRESSION.none } = request;
  if (transactionalId !== null) return undefined;
  if (compression !== COMPRESSION.none && packerOf(compression) === undefined) return undefined;
  const parts: Buffer[] = [];
  const head = Buffer.allocUnsafe(12);
  head.writeInt16BE(-1, 0);
  head.writeInt16BE(acks, 2);
  head.writeInt32BE(timeout, 4);
  head.writeInt32BE(topicData.length, 8);
  parts.push(head);
  for (const { topic, partitions } of topicData) {
    const name = Buffer.from(topic);
    const start = Buffer.allocUnsafe(6 + name.length);
    start.writeInt16BE(name.length, 0);
    start.set(name, 2);
    start.writeInt32BE(partitions.length, 2 + name.length);
    parts.push(start);
    for (const { partition, messages, firstSequence = 0 } of partitions) {
      const batch = await encodeBatch(request, messages, firstSequence, compression, now);
      if (batch === undefined) return undefined;
      const place = Buffer.allocUnsafe(8);
      place.writeInt32BE(partition, 0);
      place.writeInt32BE(batch.length, 4);
      parts.push(place, batch);
    }
  }
  return encoded(Buffer.concat(parts));
}

/** The batch of one partition, from its first offset on. */
async function encodeBatch(
  { producerId = -1, producerEpoch = 0 }: ProduceRequest,
  messages: readonly Timed[],
  firstSequence: number,
  compression: number,
  now: number,
): Promise<Buffer | undefined> {
  const { first, last } = timesOf(messages, now);
  const deltaOf = ({ timestamp }: Timed): number => Number(timestamp || now) - first;
  const sizes = new Array<number>(messages.length);
  let bytes = 0;
  for (let i = 0; i < messages.length; i++) {
    sizes[i] = recordBytes(messages[i], i, deltaOf(messages[i]));
    if (sizes[i] < 0) return undefined;
    bytes += varintBytes(sizes[i]) + sizes[i];
  }
  const head = 12 + BATCH_HEAD_BYTES;
  const pack = packerOf(compression);
  let out = Buffer.allocUnsafeSlow((pack === undefined ? head : 0) + bytes);
  let at = pack === undefined ? head : 0;
  for (let i = 0; i < messages.length; i++) at = writeRecord(out, at, messages[i], i, deltaOf(messages[i]), sizes[i]);
  if (pack !== undefined) out = Buffer.concat([Buffer.allocUnsafe(head), await pack(out)]);
  out.writeBigInt64BE(0n, 0);
  out.writeInt32BE(out.length - 12, 8);
  out.writeInt32BE(0, 12);
  out[16] = 2;
  out.writeInt16BE(compression, 21);
  out.writeInt32BE(messages.length - 1, 23);
  out.writeBigInt64BE(BigInt(first), 27);
  out.writeBigInt64BE(BigInt(last), 35);
  out.writeBigInt64BE(BigInt(producerId.toString()), 43);
  out.writeInt16BE(producerEpoch, 51);
  out.writeInt32BE(firstSequence, 53);
  out.writeInt32BE(messages.length, 57);
  out.writeUInt32BE(checksum(out, 12 + UNCHECKED_BYTES, out.length), 17);
  return out;
}

/** As texts: that is how kafkajs finds the first and the last. */
function timesOf(messages: readonly Timed[], now: number): { first: number; last: number } {
  let first: string | undefined;
  let last: string | undefined;
  for (const { timestamp } of messages) {
    if (timestamp === undefined || timestamp === null) continue;
    if (first === undefined || timestamp < first) first = timestamp;
    if (last === undefined || timestamp > last) last = timestamp;
  }
  return { first: Number(first ?? now), last: Number(last ?? now) };
}
