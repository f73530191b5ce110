import type { Consumer } from 'kafkajs';
import type { KafkaClients } from './client.ts';

/** The oldest offset of a partition, and the one behind its newest. */
export interface Bounds {
  partition: number;
  low: bigint;
  high: bigint;
}

/** The offset at which each of these partitions of a topic begins. */
export type Begin = (topic: string, partitions: readonly Bounds[]) => readonly bigint[];

/**
 * Begins partitions of which the group has committed nothing, or more than there is (the topic has been made anew), where `at`
 * says, and commits that at once: one that begins at the end would forget where that was until a first record has come, and
 * whatever was written between two sessions would be lost. Rejects when the brokers are away.
 */
export async function begin(
  clients: KafkaClients,
  consumer: Consumer,
  groupId: string,
  assigned: Readonly<Record<string, readonly number[]>>,
  at: Begin,
): Promise<void> {
  const topics = Object.keys(assigned);
  if (topics.length === 0) return;
  const admin = clients.admin();
  try {
    await admin.connect();
    for (const { topic, partitions } of await admin.fetchOffsets({ groupId, topics })) {
      const ends = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, one]));
      const open = partitions.flatMap(({ partition, offset }): Bounds[] => {
        const end = ends.get(partition);
        if (end === undefined || !assigned[topic].includes(partition)) return [];
        const [low, high] = [BigInt(end.low), BigInt(end.high)];
        return BigInt(offset) < 0n || BigInt(offset) > high ? [{ partition, low, high }] : [];
      });
      if (open.length === 0) continue;
      const starts = at(topic, open);
      const places = open.map(({ partition }, i) => ({ topic, partition, offset: String(starts[i]) }));
      for (const place of places) consumer.seek(place);
      await consumer.commitOffsets(places);
    }
  } finally {
    await admin.disconnect().catch(() => {});
  }
}
