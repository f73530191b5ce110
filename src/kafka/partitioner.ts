import { randomInt } from 'node:crypto';
import type { ICustomPartitioner, PartitionerArgs } from 'kafkajs';

/**
 * The partitions that Kafka's own clients choose: by murmur2 of the key, in turn without one. A message keeps what was
 * chosen. kafkajs asks again when it sends a request again of which some partitions took their part, and counts what it
 * sends anew: other messages under numbers that a partition has would be taken for the ones before, and be lost.
 */
export const partitionerOfKafka: ICustomPartitioner = () => {
  const turns = new Map<string, number>();
  const choose = ({ topic, partitionMetadata, message }: PartitionerArgs): number => {
    if (message.key !== null && message.key !== undefined)
      return (
        (murmur2(typeof message.key === 'string' ? Buffer.from(message.key) : message.key) & 0x7fffffff) %
        partitionMetadata.length
      );
    const led = partitionMetadata.filter(({ leader }) => leader >= 0);
    const turn = ((turns.get(topic) ?? randomInt(0x7fffffff)) + 1) & 0x7fffffff;
    turns.set(topic, turn);
    return led.length > 0 ? led[turn % led.length].partitionId : turn % partitionMetadata.length;
  };
  return (asked) => {
    asked.message.partition ??= choose(asked);
    return asked.message.partition;
  };
};

const SEED = 0x9747b28c;
const M = 0x5bd1e995;

/** As a signed 32-bit number. kafkajs's own takes a big integer for each step. */
export function murmur2(data: Uint8Array): number {
  const { length } = data;
  let h = SEED ^ length;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    let k = data[i] | (data[i + 1] << 8) | (data[i + 2] << 16) | (data[i + 3] << 24);
    k = Math.imul(k, M);
    k = Math.imul(k ^ (k >>> 24), M);
    h = Math.imul(h, M) ^ k;
  }
  if (i < length) {
    for (let b = length - 1; b >= i; b--) h ^= data[b] << (8 * (b - i));
    h = Math.imul(h, M);
  }
  h = Math.imul(h ^ (h >>> 13), M);
  return h ^ (h >>> 15);
}
