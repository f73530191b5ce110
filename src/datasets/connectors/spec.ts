import { z } from 'zod';
import { FIELD_TYPES } from '../batch.ts';
import { FORMATS } from '../formats/formats.ts';

const format = z.enum(FORMATS).optional().describe('Absent: by the ending of the name');
const text = {
  delimiter: z.string().length(1).optional().describe('CSV: between values; absent: a comma, a tab for .tsv'),
  missing: z.array(z.string().max(100)).max(100).optional().describe('CSV: texts that stand for a missing value'),
};
const types = z
  .record(z.string(), z.enum(FIELD_TYPES))
  .optional()
  .describe('Types of columns; of the others they are found out from the first 10,000 rows');
const topic = z.string().regex(/^[\w.-]{1,249}$/, 'allowed: letters, digits, ".", "_" and "-"');
const table = z.string().regex(/^[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?$/, 'allowed: table, or schema.table');
const time = z.union([z.int(), z.iso.datetime({ offset: true }).transform((iso) => Date.parse(iso))]);
const headers = z
  .record(
    z.string().regex(/^[\w-]+$/),
    z
      .string()
      .max(8192)
      .regex(/^[^\r\n]*$/),
  )
  .default({});

/** Where an import reads. Secrets lie in the configuration, under the name of a connection. */
export const sourceSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('file'), path: z.string().min(1), format, ...text, types }),
  z.strictObject({ kind: z.literal('http'), url: z.string().min(1), headers, format, ...text, types }),
  z.strictObject({
    kind: z.literal('s3'),
    connection: z.string(),
    key: z.string().min(1).max(1024),
    format,
    ...text,
    types,
  }),
  z.strictObject({ kind: z.literal('postgres'), connection: z.string(), query: z.string().min(1).max(100_000) }),
  z.strictObject({
    kind: z.literal('kafka'),
    topic,
    from: time.optional(),
    until: time.optional(),
    maxRecords: z.int().positive().optional(),
    types,
  }),
  z.strictObject({ kind: z.literal('images'), folder: z.string().min(1) }),
]);
export type SourceSpec = z.output<typeof sourceSpec>;

/** Where an export writes. */
export const targetSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('file'), path: z.string().min(1), format }),
  z.strictObject({ kind: z.literal('s3'), connection: z.string(), key: z.string().min(1).max(1024), format }),
  z.strictObject({ kind: z.literal('postgres'), connection: z.string(), table }),
  z.strictObject({
    kind: z.literal('kafka'),
    topic,
    key: z.string().optional().describe('Column whose value is the key'),
  }),
]);
export type TargetSpec = z.output<typeof targetSpec>;
