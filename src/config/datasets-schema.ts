import { z } from 'zod';
import { hostsSchema } from './hosts-schema.ts';
import { BOTH_KEYS, bothKeys, s3Fields } from './s3-schema.ts';

const postgres = z.strictObject({
  kind: z.literal('postgres'),
  url: z
    .string()
    .regex(/^postgres(ql)?:\/\/\S+$/, 'allowed: postgres://user:password@host:port/database')
    .describe('Better of a user that may only read'),
  statementSeconds: z.number().positive().max(86_400).default(600).describe('A query that takes longer is ended'),
});

const s3 = z.strictObject({ kind: z.literal('s3'), ...s3Fields }).refine(bothKeys, BOTH_KEYS);

/** `datasets`: what imports may read, and where exports may go. Requests name a connection; its secrets stay here. */
export const datasetsSchema = z
  .strictObject({
    folders: z
      .array(z.string().min(1))
      .default([])
      .describe('Folders whose files imports may read and exports may write'),
    http: hostsSchema('imports'),
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
