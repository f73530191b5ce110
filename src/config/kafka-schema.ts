import { z } from 'zod';
import { sslSchema } from './ssl-schema.ts';

const sasl = z.strictObject({
  mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
  username: z.string().min(1),
  password: z.string().min(1),
});

/** Types that a record's fields can fill. */
export const AVRO_DATATYPES = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP32',
  'FP64',
  'BYTES',
] as const;

const topic = z.string().regex(/^[\w.-]{1,249}$/, 'allowed: 1 to 249 letters, digits, "_", "." and "-"');

const avroInput = z.strictObject({
  fields: z
    .array(z.string().min(1).max(500))
    .min(1)
    .max(10_000)
    .describe(
      'Fields of the record in this order, with "." into records within it; a list of values gives all of them',
    ),
  datatype: z.enum(AVRO_DATATYPES),
  shape: z.array(z.number().int().min(0)).max(8).optional().describe('Absent: one row of as many values as there are'),
});

const registry = z
  .string()
  .regex(/^https?:\/\/\S+$/, "must be an address such as 'http://registry:8081'")
  .describe("URL of a registry with Confluent's REST; user and password may stand in it");

const avro = z.strictObject({
  schemaRegistry: registry,
  inputs: z
    .record(z.string().min(1).max(250), avroInput)
    .refine((map) => Object.keys(map).length > 0, 'name at least one input')
    .describe('Input of the model → what it is made of'),
  id: z.string().min(1).max(500).optional().describe("Field with the request's id"),
  answers: z
    .enum(['json', 'avro'])
    .default('json')
    .describe("v2 JSON, or Avro whose schema is registered as the results topic's"),
});
export type AvroTopicConfig = z.output<typeof avro>;

const inference = z.strictObject({
  requests: topic.describe('Topic whose records are requests: v2 JSON, and with avro Avro; each topic once'),
  results: topic.describe('Topic for the answers, with the keys of the requests'),
  deadLetters: topic.optional().describe('For requests that can never be answered; absent: requests + ".dead-letters"'),
  model: z.string().min(1).max(250).describe('Model or route that is asked'),
  version: z
    .string()
    .regex(/^\d{0,18}$/, 'a whole number')
    .default('')
    .describe('Empty: by version policy and routes'),
  avro: avro
    .optional()
    .describe('Requests that begin with a zero byte are Avro, framed by a schema registry; absent: all are JSON'),
  tenant: z.string().min(1).max(128).default('default').describe('On whose behalf'),
  inFlight: z.number().int().min(1).max(4096).default(64).describe('Requests of one partition at the model at a time'),
  timeoutMs: z.number().positive().max(600_000).default(30_000).describe('For one answer'),
});

export type TopicInferenceConfig = z.output<typeof inference>;

/** `kafka`: how to reach the brokers. Everything that reads or writes topics goes through it. */
export const kafkaSchema = z
  .strictObject({
    brokers: z
      .array(z.string().regex(/^[\w.:[\]-]+:\d{1,5}$/, 'allowed: host:port of each bootstrap broker'))
      .default([])
      .describe('Bootstrap addresses, "host:port"; empty: no Kafka'),
    clientId: z.string().min(1).max(255).default('switchyard').describe('Also the prefix of consumer groups'),
    topicPrefix: z
      .string()
      .regex(/^[\w.-]{0,128}$/, 'allowed: letters, digits, "_", "." and "-"')
      .default('')
      .describe('Put before the name of every topic'),
    ssl: sslSchema.optional().describe('TLS to the brokers; {} for the defaults; absent: plain text'),
    sasl: sasl.optional(),
    inference: z
      .array(inference)
      .refine(
        (list) => new Set(list.map(({ requests }) => requests)).size === list.length,
        'two entries read the same topic',
      )
      .default([])
      .describe('Inference over topics'),
    schemaRegistry: registry
      .optional()
      .describe('For Avro records of topics of feature views, imports, rewards and labels; absent: all are JSON'),
    labels: topic.optional().describe('Topic of labels and rewards, as POST /switchyard/v1/feedback takes them'),
    connectTimeoutMs: z.number().int().positive().default(3000),
    requestTimeoutMs: z.number().int().positive().default(30_000),
  })
  .refine(
    ({ brokers, inference, labels }) => brokers.length > 0 || (inference.length === 0 && labels === undefined),
    'topics need brokers; name them in kafka.brokers',
  )
  .prefault({});

export type KafkaConfig = z.output<typeof kafkaSchema>;

/** Threads beside those of sockets that serve topics. */
export function topicThreads({ inference }: KafkaConfig): number {
  return inference.length > 0 ? 1 : 0;
}
