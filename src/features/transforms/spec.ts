import { z } from 'zod';
import { invalidArgument } from '../../shared/errors.ts';

const numbers = z.array(z.number()).min(1).max(1000);
const ascending = numbers.refine((list) => list.every((value, i) => i === 0 || value > list[i - 1]), 'must ascend');
const KINDS = ['standard', 'minMax', 'oneHot', 'ordinal', 'hash', 'bucketise', 'identity'] as const;

const step = z
  .strictObject({
    feature: z.string().min(1).max(127).describe('Name of the feature it takes'),
    kind: z.enum(KINDS),
    categories: z.number().int().min(1).max(10_000).default(100).describe('oneHot, ordinal: the most frequent so many'),
    buckets: z.number().int().min(2).max(1_000_000).optional().describe('hash: how many; bucketise: quantiles so many'),
    boundaries: ascending.optional().describe('bucketise: where buckets begin; absent: quantiles of what is fitted'),
  })
  .superRefine(({ kind, buckets, boundaries }, context) => {
    if (kind === 'hash' && buckets === undefined)
      context.addIssue({ code: 'custom', path: ['buckets'], message: 'hash needs a number of buckets' });
    if (kind === 'bucketise' && (buckets === undefined) === (boundaries === undefined))
      context.addIssue({
        code: 'custom',
        path: ['boundaries'],
        message: 'bucketise needs either boundaries or buckets',
      });
    if (kind === 'bucketise' && buckets !== undefined && buckets > 1000)
      context.addIssue({ code: 'custom', path: ['buckets'], message: 'at most 1000 quantiles' });
  });

/** What is to be fitted: each step makes one or several columns of numbers from one feature. */
export const transformSpecSchema = z.array(step).min(1).max(1000);
export type TransformSpec = z.output<typeof transformSpecSchema>;

/** A step with what was learnt. */
const fittedStep = z.discriminatedUnion('kind', [
  z.strictObject({ feature: z.string(), kind: z.literal('identity'), missing: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('standard'), mean: z.number(), deviation: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('minMax'), min: z.number(), max: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('oneHot'), values: z.array(z.string()) }),
  z.strictObject({ feature: z.string(), kind: z.literal('ordinal'), values: z.array(z.string()) }),
  z.strictObject({ feature: z.string(), kind: z.literal('hash'), buckets: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('bucketise'), boundaries: z.array(z.number()) }),
]);
export type FittedStep = z.infer<typeof fittedStep>;
const fittedSchema = z.array(fittedStep).min(1);

/** Fitted state: plain JSON. Training and serving apply the same one by the same code. */
export type FittedTransform = z.infer<typeof fittedSchema>;

/** Throws invalid_argument with everything that is wrong. */
export function readTransformSpec(plain: unknown): TransformSpec {
  const result = transformSpecSchema.safeParse(plain);
  if (result.success) return result.data;
  throw invalidArgument(
    result.error.issues.map(({ path, message }) => `${['steps', ...path].join('.')}: ${message}`).join('; '),
  );
}

export function readFitted(text: string): FittedTransform {
  return fittedSchema.parse(JSON.parse(text));
}
