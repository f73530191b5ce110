import type { Consumer } from 'kafkajs';
import type { KafkaClients } from './client.ts';

/**
 * Commits the end of partitions of which the group has committed nothing. One that begins at the end forgets where that was
 * until a first record has come: whatever was written between two sessions would be lost. Rejects when the brokers are away.
 */
export async function beginAtEnd(
  clients: KafkaClients,
  consumer: Consumer,
  groupId: string,
  assigned: Readonly<Record<string, readonly number[]>>,
): Promise<void> {
  const admin = clients.admin();
  try {
    await admin.connect();
    const known = await admin.fetchOffsets({ groupId, topics: Object.keys(assigned) });
    for (const { topic, partitions } of known) {
      const open = partitions.filter(
        ({ partition, offset }) => Number(offset) < 0 && assigned[topic].includes(partition),
      );
      if (open.length === 0) continue;
      const ends = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, high]));
      await consumer.commitOffsets(
        open.map(({ partition }) => ({ topic, partition, offset: ends.get(partition) ?? '0' })),
      );
    }
  } finally {
    await admin.disconnect().catch(() => {});
  }
}
