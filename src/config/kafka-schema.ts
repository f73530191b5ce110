import { z } from 'zod';

const ssl = z
  .strictObject({
    caFile: z.string().optional().describe("PEM authorities; absent: the system's"),
    certFile: z.string().optional().describe('PEM client certificate'),
    keyFile: z.string().optional().describe('PEM key of the client certificate'),
    serverName: z.string().optional().describe('Name the certificate must have, if it is not the host of the address'),
  })
  .refine((s) => (s.certFile === undefined) === (s.keyFile === undefined), 'give certFile and keyFile, or neither');

const sasl = z.strictObject({
  mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
  username: z.string().min(1),
  password: z.string().min(1),
});

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
    ssl: ssl.optional().describe('TLS to the brokers; {} for the defaults; absent: plain text'),
    sasl: sasl.optional(),
    connectTimeoutMs: z.number().int().positive().default(3000),
    requestTimeoutMs: z.number().int().positive().default(30_000),
  })
  .prefault({});

export type KafkaConfig = z.output<typeof kafkaSchema>;
