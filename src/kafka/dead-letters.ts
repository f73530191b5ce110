import type { KafkaMessage, Message, Producer } from 'kafkajs';
import type { KafkaClients } from './client.ts';

/** A record that cannot be used, ever. */
export interface DeadLetter {
  message: KafkaMessage;
  /** A stable word, and what is wrong in full. */
  code: string;
  reason: string;
}

export function deadLetterTopic(topic: string): string {
  return `${topic}.dead-letters`;
}

/** Longer reasons are cut: a header is no place for them. */
const MAX_REASON = 1000;

/**
 * Sends records, and sets poisoned ones aside: as they came, on a topic of their own, with headers that say why and where
 * they were. Connects when it is first used, and once more after a failure.
 */
export class TopicWriter {
  private connecting: { of: KafkaClients; producer: Promise<Producer> } | undefined;

  /** Rejects when the brokers do not take them. */
  async send(clients: KafkaClients, topic: string, messages: Message[]): Promise<void> {
    if (messages.length === 0) return;
    const producer = await this.producer(clients);
    await producer.send({ topic: clients.topic(topic), messages, acks: -1 });
  }

  async setAside(
    clients: KafkaClients,
    topic: string,
    partition: number,
    letters: readonly DeadLetter[],
    into = deadLetterTopic(topic),
  ): Promise<void> {
    const messages = letters.map(
      ({ message, code, reason }): Message => ({
        key: message.key,
        value: message.value,
        headers: {
          ...message.headers,
          'switchyard-error': code,
          'switchyard-reason': reason.slice(0, MAX_REASON),
          'switchyard-topic': topic,
          'switchyard-partition': String(partition),
          'switchyard-offset': message.offset,
        },
      }),
    );
    await this.send(clients, into, messages);
  }

  async close(): Promise<void> {
    const { connecting } = this;
    // Before anything is awaited: the next one may be made meanwhile.
    this.connecting = undefined;
    const open = await connecting?.producer.catch(() => undefined);
    await open?.disconnect().catch(() => {});
  }

  private producer(clients: KafkaClients): Promise<Producer> {
    if (this.connecting?.of === clients) return this.connecting.producer;
    void this.close();
    const made = clients.producer({ idempotent: true, maxInFlightRequests: 1 });
    const producer = made.connect().then(() => made);
    const connecting = { of: clients, producer };
    this.connecting = connecting;
    producer.catch(() => {
      if (this.connecting === connecting) this.connecting = undefined;
    });
    return producer;
  }
}
