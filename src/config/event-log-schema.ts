import { z } from 'zod';
import { logRuleSchema } from './log-rule-schema.ts';
import { BOTH_KEYS, bothKeys, s3Fields, s3Prefix } from './s3-schema.ts';
import { duration } from './units.ts';

const count = z.number().int().positive();
const MIB = 1024 * 1024;

const sinkName = z
  .string()
  .regex(/^[A-Za-z0-9][\w-]{0,63}$/, 'allowed: 1 to 64 letters, digits, "_" and "-"')
  .describe('Names its cursor, its metrics and its files; keep it');

export const PARTITION_KEYS = ['date', 'hour', 'model', 'route'] as const;
export type PartitionKey = (typeof PARTITION_KEYS)[number];

const bucket = z.strictObject({ ...s3Fields, prefix: s3Prefix }).refine(bothKeys, BOTH_KEYS);

const files = z.strictObject({
  name: sinkName,
  kind: z.literal('files'),
  format: z.enum(['jsonl', 'sagemaker', 'parquet']).default('jsonl'),
  dir: z.string().min(1).optional().describe('Absent: dataDir/eventlog/files/NAME'),
  rotateBytes: count.default(128 * MIB),
  rotateAfter: duration.default(3_600_000).describe('A file is closed after it, however small'),
  keepFiles: count
    .default(1000)
    .describe("The oldest beyond it are deleted; in a bucket that is the bucket's business"),
  s3: bucket.optional().describe('Objects of an S3-compatible bucket instead of files'),
  partitionBy: z
    .array(z.enum(PARTITION_KEYS))
    .refine((keys) => new Set(keys).size === keys.length, 'a key stands there twice')
    .default([])
    .describe("Folders in Hive's form, such as date=2026-11-30/; dates and hours are UTC"),
});

const kafka = z.strictObject({
  name: sinkName,
  kind: z.literal('kafka'),
  layout: z
    .enum(['record', 'block'])
    .default('record')
    .describe("'block': many records in one message, an Avro object container"),
  format: z.enum(['avro', 'json', 'sagemaker']).default('json').describe('Of the layout record'),
  schemaRegistry: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("Confluent's REST; needed for avro in the layout record"),
  compression: z.enum(['gzip', 'snappy', 'lz4', 'zstd', 'none']).default('gzip'),
  batchRecords: count.max(100_000).default(1000),
  linger: duration
    .optional()
    .describe('Fewer records wait so long for more; absent: 20 ms, in the layout block 200 ms'),
  createTopics: z
    .strictObject({ partitions: count.default(6), replication: z.number().int().positive().default(1) })
    .optional()
    .describe("Absent: topics exist, or the broker's own setting makes them"),
});

const webhook = z.strictObject({
  name: sinkName,
  kind: z.literal('webhook'),
  url: z.url({ protocol: /^https?$/ }),
  secret: z.string().min(1).optional().describe('Signs every delivery'),
  format: z.enum(['json', 'sagemaker']).default('json'),
  batchRecords: count.max(10_000).default(500),
  every: duration.default(1000).describe('A smaller batch is sent after it'),
});

/** `eventLog`: what is recorded of requests, where records wait, and where they go. */
export const eventLogSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    dir: z.string().min(1).optional().describe('Spool, cursors and payloads; absent: dataDir/eventlog'),
    bufferBytes: z
      .number()
      .int()
      .min(MIB)
      .max(1024 * MIB)
      .default(16 * MIB)
      .describe('Between a gateway thread and the log thread; records beyond it are dropped and counted'),
    nice: z.number().int().min(0).max(19).default(10).describe('How far the log thread gives way to requests'),
    saltFile: z.string().min(1).optional().describe('Salt of hashed fields; absent: drawn once, kept in dir'),
    rule: logRuleSchema.prefault({}),
    models: z.record(z.string().min(1), logRuleSchema).default({}).describe('By the name that was asked for'),
    spool: z
      .strictObject({
        segmentBytes: z
          .number()
          .int()
          .min(MIB)
          .max(1024 * MIB)
          .default(64 * MIB),
        maxBytes: z
          .number()
          .int()
          .min(MIB)
          .default(10 * 1024 * MIB),
        whenFull: z
          .enum(['drop-oldest', 'drop-new'])
          .default('drop-oldest')
          .describe('What gives way at maxBytes, and on a full disk'),
        fsync: z
          .union([duration, z.enum(['never', 'always'])])
          .default(1000)
          .describe("How often; 'always': before a record counts as committed"),
      })
      .prefault({}),
    payloads: z
      .strictObject({
        maxBytes: z
          .number()
          .int()
          .min(MIB)
          .default(10 * 1024 * MIB)
          .describe('On the disk; the oldest beyond it are deleted'),
        s3: bucket.optional().describe('An S3-compatible bucket; payloads wait on the disk until they are there'),
      })
      .prefault({}),
    sinks: z
      .array(z.discriminatedUnion('kind', [files, kafka, webhook]))
      .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'two sinks have the same name')
      .default([])
      .describe('Absent: JSON lines in dataDir/eventlog/files'),
  })
  .superRefine(({ sinks }, context) => {
    sinks.forEach((sink, i) => {
      if (sink.kind === 'files' && sink.s3 !== undefined && sink.dir !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['sinks', i, 'dir'],
          message: 'a sink writes to a folder or to a bucket: give dir or s3',
        });
      if (sink.kind !== 'kafka') return;
      if (sink.layout === 'record' && sink.format === 'avro' && sink.schemaRegistry === undefined)
        context.addIssue({
          code: 'custom',
          path: ['sinks', i, 'schemaRegistry'],
          message: 'avro in the layout record needs the URL of a schema registry; or use format json, or layout block',
        });
      if (sink.layout === 'block' && sink.format === 'sagemaker')
        context.addIssue({
          code: 'custom',
          path: ['sinks', i, 'format'],
          message: 'a block holds Avro, not sagemaker',
        });
    });
  })
  .prefault({});

export type EventLogConfig = z.infer<typeof eventLogSchema>;
export type SinkConfig = EventLogConfig['sinks'][number];
export type FilesSinkConfig = Extract<SinkConfig, { kind: 'files' }>;
export type BucketConfig = z.infer<typeof bucket>;
export type KafkaSinkConfig = Extract<SinkConfig, { kind: 'kafka' }>;
export type WebhookSinkConfig = Extract<SinkConfig, { kind: 'webhook' }>;
