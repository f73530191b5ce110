import { z } from 'zod';

export const DATA_TYPES = ['boolean', 'integer', 'number', 'string', 'timestamp', 'binary', 'numbers'] as const;
const share = z.number().min(0).max(1);

/** What the values of one column, or of one input at the door, must be. What is left out is not checked. */
export const fieldRule = z
  .strictObject({
    type: z.enum(DATA_TYPES).optional(),
    required: z.boolean().default(true).describe('The column must be there'),
    maxMissing: share.optional().describe('Largest share of missing values; at the door NaN counts as missing'),
    min: z.number().optional(),
    max: z.number().optional(),
    values: z
      .array(z.union([z.string(), z.number(), z.boolean()]))
      .min(1)
      .max(10_000)
      .optional()
      .describe('The vocabulary'),
    maxUnknown: share.default(0).describe('Largest share of values outside the vocabulary'),
    minLength: z.number().int().min(0).optional().describe('Of texts in characters, of lists in items'),
    maxLength: z.number().int().min(0).optional(),
    shape: z.array(z.number().int().min(-1)).optional().describe('At the door: of one row; -1: any length'),
    unique: z.boolean().optional(),
    maxSkew: z
      .strictObject({ linf: share.optional(), js: share.optional() })
      .optional()
      .describe('Largest distance between training and serving: L-infinity, Jensen-Shannon'),
    severity: z.enum(['error', 'warning']).default('error'),
  })
  .refine(({ min, max }) => min === undefined || max === undefined || min <= max, 'min is above max')
  .refine(
    ({ minLength, maxLength }) => minLength === undefined || maxLength === undefined || minLength <= maxLength,
    'minLength is above maxLength',
  );
export type FieldRule = z.output<typeof fieldRule>;

/** A schema that data is validated by: inferred from a reference, edited by people, kept in versions. */
export const dataSchema = z.strictObject({
  fields: z
    .record(z.string().min(1), fieldRule)
    .refine((map) => Object.keys(map).length > 0, 'name at least one field'),
  extra: z.enum(['error', 'warning', 'allow']).default('warning').describe('Columns that no field names'),
  minRows: z.number().int().min(0).default(0),
});
export type DataSchema = z.output<typeof dataSchema>;
