import type { Message, Producer, TopicMessages } from 'kafkajs';
import { SwitchyardError } from '../shared/errors.ts';
import { COMPRESSION } from './compression/pack.ts';
import { bytesOfMessage, MAX_BATCH_BYTES, requests } from './requests.ts';

const NO_TOPIC = ['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'];

/** What brokers refuse however often it is sent: its size, its time, what it is, or who sends it. */
export type Refusal = 'size' | 'time' | 'form' | 'rights';

/** By Kafka's names of errors. */
const REFUSALS: Readonly<Record<Refusal, readonly string[]>> = {
  size: ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'],
  time: ['INVALID_TIMESTAMP'],
  form: ['INVALID_RECORD'],
  rights: ['TOPIC_AUTHORIZATION_FAILED'],
};

/** Undefined: it may be taken when it is sent again. */
export function refusalOf(error: unknown): Refusal | undefined {
  return (Object.keys(REFUSALS) as Refusal[]).find((refusal) => isOf(error, REFUSALS[refusal]));
}

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

  /** Rejects when the brokers do not take it, or do not answer; some of it may have arrived. */
  async send(topicMessages: TopicMessages[], compression: number): Promise<void> {
    const producer = await this.producer();
    try {
      await producer.sendBatch({ topicMessages, acks: -1, compression });
    } catch (error) {
      // Of one message that was refused nothing has arrived. Brokers that are away are not waited for.
      const whole = topicMessages.length === 1 && topicMessages[0].messages.length === 1;
      if (!whole || !['size', 'time'].includes(refusalOf(error) ?? '')) void this.close();
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
      await this.send([{ topic, messages: [] }], COMPRESSION.none);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
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
      if (!surelyLarge && (await this.fits(topic, all, compression))) continue;
      // Every client reads gzip.
      for (const { message, number } of part.messages)
        if (!(await this.fits(topic, [message], COMPRESSION.gzip))) tooLarge.push(number);
    }
    return tooLarge;
  }

  private async fits(topic: string, messages: Message[], compression: number): Promise<boolean> {
    try {
      await this.send([{ topic, messages }], compression);
      return true;
    } catch (error) {
      if (refusalOf(error) === 'size') return false;
      throw error;
    }
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

/** Whether it says that there is no such topic. */
export function isMissing(error: unknown): boolean {
  return isOf(error, NO_TOPIC);
}

function explained(error: unknown, topic: string): unknown {
  const name = JSON.stringify(topic);
  if (isMissing(error))
    return new SwitchyardError('failed_precondition', `Kafka has no topic ${name}, and does not make it; create it`, {
      cause: error,
    });
  if (refusalOf(error) === 'rights')
    return new SwitchyardError(
      'permission_denied',
      `this user may not write to the topic ${name}; allow it in an ACL`,
      {
        cause: error,
      },
    );
  return error;
}

/** Whether it is one of these errors of Kafka's, has one for its cause, or several of which one is. */
function isOf(error: unknown, wanted: readonly string[]): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { type = '', cause, errors = [] } = error as { type?: string; cause?: unknown; errors?: readonly unknown[] };
  return wanted.includes(type) || [cause, ...errors].some((one) => isOf(one, wanted));
}
