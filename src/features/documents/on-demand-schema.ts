import { z } from 'zod';
import { described, head, nameOf } from './document-parts.ts';
import { FEATURE_TYPES } from './values.ts';

const of = z.string().min(1).max(300).describe('Name of a value of the request, or "view:feature"');
const several = z.array(of).min(2).max(16);
const two = z.array(of).length(2);
const values = z.array(z.string()).min(1).max(10_000);
const boundaries = z
  .array(z.number())
  .min(1)
  .max(1000)
  .refine((list) => list.every((value, i) => i === 0 || value > list[i - 1]), 'must ascend');
const positive = z.number().positive();

const base = { name: nameOf(127), description: z.string().max(2000).default('') };

/** How a value comes of others: the steps of transforms with what they would have learnt, and arithmetic. */
const feature = z.discriminatedUnion('kind', [
  z.strictObject({ ...base, kind: z.literal('identity'), of, missing: z.number().default(0) }),
  z.strictObject({ ...base, kind: z.literal('standard'), of, mean: z.number(), deviation: positive }),
  z.strictObject({ ...base, kind: z.literal('minMax'), of, min: z.number(), max: z.number() }),
  z.strictObject({ ...base, kind: z.literal('oneHot'), of, values }),
  z.strictObject({ ...base, kind: z.literal('ordinal'), of, values }),
  z.strictObject({ ...base, kind: z.literal('hash'), of, buckets: z.number().int().min(2).max(1_000_000) }),
  z.strictObject({ ...base, kind: z.literal('bucketise'), of, boundaries }),
  z.strictObject({ ...base, kind: z.literal('sum'), of: several }),
  z.strictObject({ ...base, kind: z.literal('product'), of: several }),
  z.strictObject({ ...base, kind: z.literal('difference'), of: two }),
  z.strictObject({ ...base, kind: z.literal('ratio'), of: two }),
]);
export type OnDemandFeature = z.infer<typeof feature>;

/** Features that are computed when they are asked for, of what the request brings and of other views. */
export const onDemandFeatureViewSchema = z.strictObject({
  ...head,
  kind: z.literal('OnDemandFeatureView'),
  spec: z
    .strictObject({
      request: z
        .array(z.strictObject({ name: nameOf(127), type: z.enum(FEATURE_TYPES) }))
        .max(100)
        .default([])
        .describe("What the request brings beside join keys, as Feast's RequestSource"),
      features: z.array(feature).min(1).max(1000),
      ...described,
    })
    .superRefine(({ request, features }, context) => {
      const seen = new Set<string>();
      for (const [path, list] of [
        ['request', request],
        ['features', features],
      ] as const)
        for (const [i, { name }] of list.entries()) {
          if (seen.has(name))
            context.addIssue({ code: 'custom', path: [path, i, 'name'], message: `${name} stands there twice` });
          seen.add(name);
        }
    }),
});
export type OnDemandDocument = z.infer<typeof onDemandFeatureViewSchema>;
