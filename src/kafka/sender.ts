import type { Message, Producer, TopicMessages } from 'kafkajs';
import { SwitchyardError } from '../shared/errors.ts';
import { COMPRESSION } from './compression/pack.ts';
import { bytesOfMessage, MAX_BATCH_BYTES, requests } from './requests.ts';

/** Kafka's words for what the limit of a topic or a broker lets no further. */
const TOO_LARGE = ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'];
const NO_TOPIC = ['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'];
const FORBIDDEN = ['TOPIC_AUTHORIZATION_FAILED'];

/**
 * Sends through one producer, which connects when it is first used. After a failure the next one is a new one: an idempotent
 * producer has then lost its place among the sequence numbers, as a request may have arrived in part. One send at a time.
 */
export class Sender {
  private readonly make: () => Producer;
  private connecting: Promise<Producer> | undefined;

  constructor(make: () => Producer) {
    this.make = make;
  }

  /** Resolves with false when it is too large for the brokers; some of it may have arrived. Rejects when they do not take it now. */
  async send(topicMessages: TopicMessages[], compression: number): Promise<boolean> {
    const producer = await this.producer();
    try {
      await producer.sendBatch({ topicMessages, acks: -1, compression });
      return true;
    } catch (error) {
      const tooLarge = isOf(error, TOO_LARGE);
      // Of one message nothing has arrived. Brokers that are away are not waited for.
      const whole = tooLarge && topicMessages.length === 1 && topicMessages[0].messages.length === 1;
      if (!whole) void this.close();
      if (tooLarge) return false;
      throw error;
    }
  }

  /**
   * Sends any number of messages to a topic, in their order. Resolves with the numbers of those that are too large, each by
   * itself and compressed. Rejects when the brokers do not take the others now: with failed_precondition where there is no
   * such topic, and permission_denied where this user may not write to it.
   */
  async sendAll(topic: string, messages: readonly Message[], compression: number): Promise<number[]> {
    try {
      return await this.sendParts(topic, messages, compression);
    } catch (error) {
      throw explained(error, topic);
    }
  }

  /** Whether a topic is there, once the brokers have made it where they do so. Rejects when they are away. */
  async ask(topic: string): Promise<boolean> {
    try {
      // A producer learns of a topic by writing to it, if only nothing.
      return await this.send([{ topic, messages: [] }], COMPRESSION.none);
    } catch (error) {
      if (isOf(error, NO_TOPIC)) return false;
      throw explained(error, topic);
    }
  }

  private async sendParts(topic: string, messages: readonly Message[], compression: number): Promise<number[]> {
    const tooLarge: number[] = [];
    const numbered = messages.map((message, number) => ({ message, number }));
    for (const [part] of requests([{ topic, messages: numbered }], MAX_BATCH_BYTES, bytesOfMessage)) {
      const [first] = part.messages;
      const surelyLarge = part.messages.length === 1 && bytesOfMessage(first.message) > MAX_BATCH_BYTES;
      const all = part.messages.map(({ message }) => message);
      if (!surelyLarge && (await this.send([{ topic, messages: all }], compression))) continue;
      // Every client reads gzip.
      for (const { message, number } of part.messages)
        if (!(await this.send([{ topic, messages: [message] }], COMPRESSION.gzip))) tooLarge.push(number);
    }
    return tooLarge;
  }

  async close(): Promise<void> {
    const { connecting } = this;
    // Before anything is awaited: the next one may be made meanwhile.
    this.connecting = undefined;
    const open = await connecting?.catch(() => undefined);
    await open?.disconnect().catch(() => {});
  }

  private producer(): Promise<Producer> {
    if (this.connecting !== undefined) return this.connecting;
    const made = this.make();
    const connecting = made.connect().then(() => made);
    this.connecting = connecting;
    connecting.catch(() => {
      if (this.connecting === connecting) this.connecting = undefined;
    });
    return connecting;
  }
}

function explained(error: unknown, topic: string): unknown {
  const name = JSON.stringify(topic);
  if (isOf(error, NO_TOPIC))
    return new SwitchyardError('failed_precondition', `Kafka has no topic ${name}, and does not make it; create it`, {
      cause: error,
    });
  if (isOf(error, FORBIDDEN))
    return new SwitchyardError(
      'permission_denied',
      `this user may not write to the topic ${name}; allow it in an ACL`,
      {
        cause: error,
      },
    );
  return error;
}

/** Whether it is one of these errors of Kafka's, or has one for its cause. */
export function isOf(error: unknown, wanted: readonly string[]): boolean {
  const { type = '', cause } = error as { type?: string; cause?: unknown };
  return wanted.includes(type) || (cause !== undefined && isOf(cause, wanted));
}
