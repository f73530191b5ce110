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
const several =
  'one or several; "*", "?", "[ab]" and "{a,b}" choose names, "**" goes through folders, "/" at the end means all below';
const partitions = z
  .boolean()
  .optional()
  .describe("Folders in Hive's form on the way, such as date=2026-11-30/, are columns, too");
const topic = z.string().regex(/^[\w.-]{1,249}$/, 'allowed: letters, digits, ".", "_" and "-"');
const table = z.string().regex(/^[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?$/, 'allowed: table, or schema.table');
const time = z.union([z.int(), z.iso.datetime({ offset: true }).transform((iso) => Date.parse(iso))]);
const oneOrMore = (one: z.ZodString) => z.union([one, z.array(one).min(1).max(1000)]);
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
  z.strictObject({
    kind: z.literal('file'),
    path: oneOrMore(z.string().min(1)).describe(`Path, ${several}`),
    partitions,
    format,
    ...text,
    types,
  }),
  z.strictObject({ kind: z.literal('http'), url: z.string().min(1), headers, format, ...text, types }),
  z.strictObject({
    kind: z.literal('s3'),
    connection: z.string(),
    key: oneOrMore(z.string().min(1).max(1024)).describe(`Key, ${several}`),
    partitions,
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
  z.strictObject({
    kind: z.literal('log'),
    model: z.string().min(1),
    version: z.string().optional(),
    route: z.string().optional(),
    from: time.optional(),
    until: time.optional(),
    labelsUntil: time.optional().describe('Labels that came later are not used'),
    labelled: z.boolean().default(true).describe('Leave requests without a label out'),
    sink: z.string().optional().describe('Name of a sink of kind files; absent: the only one'),
    topics: z
      .strictObject({
        inference: topic,
        feedback: topic,
        unmatched: topic
          .optional()
          .describe(
            'Of feedback that names no model; absent: <prefix>unmatched.feedback beside <prefix><model>.inference',
          ),
      })
      .optional()
      .describe('Instead of files: topics of a sink of kind kafka, in any of its formats and layouts'),
  }),
  z.strictObject({ kind: z.literal('images'), folder: z.string().min(1) }),
]);
/** Feature rows of a dataset, joined to each row as they were known at its time. */
export const joinSpec = z.strictObject({
  dataset: z.string().min(1),
  version: z.int().positive().optional().describe('Absent: the latest'),
  entity: z
    .record(z.string().min(1), z.string().min(1))
    .refine((map) => Object.keys(map).length > 0, 'name at least one, such as {user_id: entity}')
    .describe('Key column of the dataset → column of the rows'),
  time: z.string().min(1).describe('Column of the rows: when they were asked'),
  featureTime: z.string().min(1).describe('Column of the dataset: when its rows began to hold'),
  created: z.string().optional().describe('Column of the dataset: when its rows were written'),
  ttlSeconds: z.number().positive().optional().describe('Older feature rows are not used; absent: never too old'),
  columns: z.array(z.string()).optional(),
  prefix: z.string().default(''),
});
export type DatasetJoin = z.output<typeof joinSpec>;

export type SourceSpec = z.output<typeof sourceSpec>;

/** Where an export writes. */
export const targetSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('file'), path: z.string().min(1), format }),
  z.strictObject({
    kind: z.literal('http'),
    url: z.string().min(1),
    method: z.enum(['PUT', 'POST']).default('PUT'),
    headers,
    format,
  }),
  z.strictObject({ kind: z.literal('s3'), connection: z.string(), key: z.string().min(1).max(1024), format }),
  z.strictObject({ kind: z.literal('postgres'), connection: z.string(), table }),
  z.strictObject({
    kind: z.literal('kafka'),
    topic,
    key: z.string().optional().describe('Column whose value is the key'),
  }),
]);
export type TargetSpec = z.output<typeof targetSpec>;
