import type { KafkaClients } from './client.ts';

/** The names of all topics that this user is shown. Rejects when the brokers are away. */
export async function topicsOf(clients: KafkaClients): Promise<string[]> {
  const admin = clients.admin();
  try {
    await admin.connect();
    return await admin.listTopics();
  } finally {
    await admin.disconnect().catch(() => {});
  }
}
