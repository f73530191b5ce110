import { z } from 'zod';

const postgres = z.strictObject({
  kind: z.literal('postgres'),
  url: z
    .string()
    .regex(/^postgres(ql)?:\/\/\S+$/, 'allowed: postgres://user:password@host:port/database')
    .describe('Better of a user that may only read'),
  statementSeconds: z.number().positive().max(86_400).default(600).describe('A query that takes longer is ended'),
});

const s3 = z
  .strictObject({
    kind: z.literal('s3'),
    bucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'allowed: 3 to 63 lower-case letters, digits, "." and "-"'),
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Of an S3-compatible store; absent: AWS'),
    region: z.string().default('us-east-1'),
    pathStyle: z.boolean().default(false).describe('Bucket in the path instead of the host name, as MinIO wants it'),
    accessKeyId: z.string().optional().describe('Absent: environment, profile or instance role'),
    secretAccessKey: z.string().optional(),
  })
  .refine((connection) => (connection.accessKeyId === undefined) === (connection.secretAccessKey === undefined), {
    message: 'give accessKeyId and secretAccessKey, or neither',
  });

/** `datasets`: what imports may read, and where exports may go. Requests name a connection; its secrets stay here. */
export const datasetsSchema = z
  .strictObject({
    folders: z
      .array(z.string().min(1))
      .default([])
      .describe('Folders whose files imports may read and exports may write'),
    http: z
      .strictObject({
        schemes: z
          .array(z.enum(['https', 'http']))
          .min(1)
          .default(['https']),
        hosts: z
          .array(z.string())
          .default([])
          .describe('"host", "host:port" or "*.suffix" that imports may name; empty: any'),
        privateHosts: z
          .array(z.string())
          .default([])
          .describe('"host" or "host:port" that may resolve to private, loopback or link-local addresses'),
      })
      .prefault({}),
    connections: z
      .record(
        z.string().regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'allowed: 1 to 64 letters, digits, "_", "." and "-"'),
        z.discriminatedUnion('kind', [postgres, s3]),
      )
      .default({})
      .describe('Databases and buckets, by the name under which imports and exports use them'),
    maxBytes: z
      .number()
      .int()
      .positive()
      .default(16 * 1024 ** 3)
      .describe('Largest import, after unpacking'),
    maxImagePixels: z
      .number()
      .int()
      .positive()
      .default(50_000_000)
      .describe('Images of more pixels are rejected before they are decoded'),
  })
  .prefault({});

export type DatasetsConfig = z.output<typeof datasetsSchema>;
export type S3Connection = z.output<typeof s3>;
export type PostgresConnection = z.output<typeof postgres>;
