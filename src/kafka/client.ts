import { readFileSync } from 'node:fs';
import type {
  Admin,
  Consumer,
  ConsumerConfig,
  Kafka,
  KafkaConfig as KafkaOptions,
  Producer,
  ProducerConfig,
} from 'kafkajs';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { answering } from './answers.ts';
import { speedUpEncoding } from './encoding.ts';
import { logInto } from './log.ts';
import { partitionerOfKafka } from './partitioner.ts';

/** The brokers of `kafka:`, as clients for them. Nothing connects before a client's own connect(). */
export interface KafkaClients {
  /** Its sends reject, too, where a partition that has moved did not take its part: see answers.ts. */
  producer(options?: Omit<ProducerConfig, 'createPartitioner'>): Producer;
  /** `group` comes behind the client id: "switchyard.rewards". */
  consumer(group: string, options?: Omit<ConsumerConfig, 'groupId'>): Consumer;
  admin(): Admin;
  /** A topic's name on the brokers: with the prefix. */
  topic(name: string): string;
}

export function kafkaConfigured({ brokers }: KafkaConfig): boolean {
  return brokers.length > 0;
}

/**
 * Loads kafkajs, which is only paid for where Kafka is used. Rejects with failed_precondition when no broker is
 * configured, or a file of `kafka.ssl` cannot be read.
 */
export async function kafkaClients(config: KafkaConfig, logger: Logger): Promise<KafkaClients> {
  if (!kafkaConfigured(config))
    throw new SwitchyardError('failed_precondition', 'no Kafka is configured; name its addresses in kafka.brokers');
  const options = { ...kafkaOptions(config), logCreator: logInto(logger, monotonicMs) };
  speedUpEncoding();
  const { Kafka: Client } = await import('kafkajs');
  const kafka: Kafka = new Client(options);
  return {
    producer: (settings) => answering(kafka.producer({ ...settings, createPartitioner: partitionerOfKafka })),
    consumer: (group, settings) => kafka.consumer({ ...settings, groupId: `${config.clientId}.${group}` }),
    admin: () => kafka.admin(),
    topic: (name) => config.topicPrefix + name,
  };
}

function kafkaOptions({ brokers, clientId, ssl, sasl, connectTimeoutMs, requestTimeoutMs }: KafkaConfig): KafkaOptions {
  return {
    brokers,
    clientId,
    connectionTimeout: connectTimeoutMs,
    requestTimeout: requestTimeoutMs,
    retry: { initialRetryTime: 200, maxRetryTime: 5000 },
    ...(ssl === undefined
      ? {}
      : {
          ssl: {
            ...(ssl.caFile === undefined ? {} : { ca: readPem(ssl.caFile) }),
            ...(ssl.certFile === undefined ? {} : { cert: readPem(ssl.certFile) }),
            ...(ssl.keyFile === undefined ? {} : { key: readPem(ssl.keyFile) }),
            ...(ssl.serverName === undefined ? {} : { servername: ssl.serverName }),
          },
        }),
    ...(sasl === undefined ? {} : { sasl: { ...sasl } as KafkaOptions['sasl'] }),
  };
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const message = `kafka.ssl: ${file} cannot be read: ${(error as Error).message}`;
    throw new SwitchyardError('failed_precondition', message, { cause: error });
  }
}
