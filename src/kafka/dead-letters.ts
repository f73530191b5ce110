import type { KafkaMessage, Message } from 'kafkajs';
import { SwitchyardError } from '../shared/errors.ts';
import type { KafkaClients } from './client.ts';
import { COMPRESSION } from './compression/pack.ts';
import { Sender } from './sender.ts';
import { topicsOf } from './topics.ts';

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
  /** Topics that the brokers were asked for, and did not make. */
  private readonly unmade = new Set<string>();

  /** Those of the topics that are not there, and that the brokers do not make. Rejects when they are away. */
  async missing(clients: KafkaClients, topics: readonly string[]): Promise<string[]> {
    const there = new Set(await topicsOf(clients));
    const missing: string[] = [];
    for (const topic of topics) {
      const name = clients.topic(topic);
      if (there.has(name)) this.unmade.delete(name);
      else if (this.unmade.has(name) || !(await this.inTurn((sender) => sender.ask(name), clients))) {
        this.unmade.add(name);
        missing.push(topic);
      }
    }
    return missing;
  }

  /**
   * Resolves with the numbers of the messages that are too large for the topic. Rejects when the brokers do not take the
   * others: all of them are to come again.
   */
  send(clients: KafkaClients, topic: string, messages: readonly Message[]): Promise<number[]> {
    if (messages.length === 0) return Promise.resolve([]);
    return this.inTurn((sender) => sender.sendAll(clients.topic(topic), messages, COMPRESSION.none), clients);
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

  private inTurn<T>(work: (sender: Sender) => Promise<T>, clients: KafkaClients): Promise<T> {
    const done = this.last.then(() => work(this.senderFor(clients)));
    this.last = done.catch(() => {});
    return done;
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
