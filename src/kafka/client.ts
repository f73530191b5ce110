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
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { answering } from './answers.ts';
import { AvroValues } from './avro-values.ts';
import { registerCodecs } from './compression/codecs.ts';
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
  /**
   * The record of a value that is Avro, framed by the registry of `kafka.schemaRegistry`. Rejects with invalid_argument for what
   * is none, and with unavailable while the registry is away.
   */
  avro(value: Buffer): Promise<unknown>;
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
  const { default: library } = await import('kafkajs');
  registerCodecs(library);
  const kafka: Kafka = new library.Kafka(options);
  const values = config.schemaRegistry === undefined ? undefined : new AvroValues(config.schemaRegistry, true);
  return {
    producer: (settings) => answering(kafka.producer({ ...settings, createPartitioner: partitionerOfKafka })),
    consumer: (group, settings) => kafka.consumer({ ...settings, groupId: `${config.clientId}.${group}` }),
    admin: () => kafka.admin(),
    topic: (name) => config.topicPrefix + name,
    avro: async (value) => {
      if (values !== undefined) return values.read(value);
      throw invalidArgument(
        'the record begins as Avro does that a schema registry frames; name it in kafka.schemaRegistry',
      );
    },
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
