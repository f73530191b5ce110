import type { KafkaMessage, Message } from 'kafkajs';
import { SwitchyardError } from '../shared/errors.ts';
import type { KafkaClients } from './client.ts';
import { COMPRESSION } from './compression/pack.ts';
import { Sender } from './sender.ts';

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
  private sender: { of: KafkaClients; sender: Sender } | undefined;
  /** Batches of several partitions come at once, and take turns. */
  private last: Promise<unknown> = Promise.resolve();

  /**
   * Resolves with the numbers of the messages that are too large for the topic. Rejects when the brokers do not take the
   * others: all of them are to come again.
   */
  send(clients: KafkaClients, topic: string, messages: readonly Message[]): Promise<number[]> {
    if (messages.length === 0) return Promise.resolve([]);
    const sent = this.last.then(() =>
      this.senderFor(clients).sendAll(clients.topic(topic), messages, COMPRESSION.none),
    );
    this.last = sent.catch(() => {});
    return sent;
  }

  /** One that is larger than the topic takes goes without its value, or without all that it came with. */
  async setAside(
    clients: KafkaClients,
    topic: string,
    partition: number,
    letters: readonly DeadLetter[],
    into = deadLetterTopic(topic),
  ): Promise<void> {
    const forms = letters.map((letter) => formsOf(letter, topic, partition));
    let left = forms;
    for (const form of ['whole', 'withoutValue', 'bare'] as const) {
      const tooLarge = await this.send(
        clients,
        into,
        left.map((each) => each[form]),
      );
      left = tooLarge.map((number) => left[number]);
    }
    if (left.length > 0)
      throw new SwitchyardError(
        'failed_precondition',
        `the topic ${into} takes not even a dead letter without its record; raise its max.message.bytes to 4096 or more`,
      );
  }

  async close(): Promise<void> {
    await this.last;
    await this.sender?.sender.close();
  }

  private senderFor(clients: KafkaClients): Sender {
    if (this.sender?.of === clients) return this.sender.sender;
    void this.sender?.sender.close();
    const sender = new Sender(() => clients.producer({ idempotent: true, maxInFlightRequests: 1 }));
    this.sender = { of: clients, sender };
    return sender;
  }
}

/** A letter as large as it is, and smaller. */
function formsOf({ message, code, reason }: DeadLetter, topic: string, partition: number) {
  const { key, value, headers } = message;
  const own = {
    'switchyard-error': code,
    'switchyard-reason': reason.slice(0, MAX_REASON),
    'switchyard-topic': topic,
    'switchyard-partition': String(partition),
    'switchyard-offset': message.offset,
  };
  const cut = { ...own, 'switchyard-value-bytes': String(value?.length ?? 0) };
  return {
    whole: { key, value, headers: { ...headers, ...own } },
    withoutValue: { key, value: null, headers: { ...headers, ...cut } },
    bare: { key: null, value: null, headers: cut },
  } satisfies Record<string, Message>;
}
