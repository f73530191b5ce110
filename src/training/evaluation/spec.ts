import { z } from 'zod';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const columns = z.array(z.string().min(1)).min(1);

export const sliceSchema = z
  .strictObject({
    name: z.string().min(1).max(100).optional().describe('Default: made of column and value'),
    column: z.string().min(1).optional().describe('One slice per value of this column'),
    where: z.record(z.string(), scalar).optional().describe('Rows whose columns have these values'),
    min: z.number().optional().describe('With column: one slice, of values from this one'),
    below: z.number().optional().describe('With column: one slice, of values below this one'),
  })
  .refine(
    (slice) => (slice.column === undefined) !== (slice.where === undefined),
    'give column or where, and not both',
  );

export const attributionSchema = z.strictObject({
  method: z.enum(['permutation', 'shapley']).default('permutation'),
  metric: z.string().optional().describe('permutation: the score that falls. Default: accuracy, or r2'),
  repeats: z.number().int().min(2).max(100).default(5).describe('permutation: deals per feature'),
  rows: z.number().int().min(1).max(10_000).default(50).describe('shapley: rows that are explained'),
  samples: z.number().int().min(2).max(100_000).default(100).describe('shapley: orders of features per row'),
  seed: z.number().int().min(0).default(0),
});

/** How a model is asked and what its answers are held against. */
export const evaluationFields = {
  label: z.string().min(1).describe('Column with the truth'),
  task: z.enum(['classification', 'regression']),
  features: columns
    .optional()
    .describe('Columns the model is given, in order. Default: all but the label and sliceOnly'),
  sliceOnly: z.array(z.string()).default([]).describe('Columns that only slices read'),
  inputs: z.record(z.string(), columns).optional().describe('Columns of each input tensor, for models with several'),
  prediction: z.string().optional().describe('Output with the label or the value. Default: found by its type'),
  probabilities: z.string().optional().describe('Output with one probability per class. Default: found by its type'),
  classes: z
    .array(scalar)
    .min(2)
    .optional()
    .describe('In the order of the probabilities. Default: sorted values of the label'),
  batchSize: z.number().int().min(1).max(65_536).default(256),
  slices: z.array(sliceSchema).default([]),
  attribution: attributionSchema.optional(),
};

export const evaluationSpec = z.strictObject(evaluationFields);

export type EvaluationSpec = z.infer<typeof evaluationSpec>;
export type SliceSpec = z.infer<typeof sliceSchema>;
