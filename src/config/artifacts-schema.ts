import { z } from 'zod';
import { BOTH_KEYS, bothKeys, s3Fields, s3Prefix } from './s3-schema.ts';

const { bucket, ...reached } = s3Fields;
const s3 = z
  .strictObject({
    bucket: bucket.describe('An existing bucket'),
    prefix: s3Prefix,
    ...reached,
  })
  .refine(bothKeys, BOTH_KEYS);

/** `registry.artifacts`: where the bytes of artifacts lie. */
export const artifactsSchema = z
  .strictObject({
    maxBytes: z
      .number()
      .int()
      .positive()
      .default(64 * 1024 ** 3)
      .describe('Largest artifact; a larger upload is refused with 413'),
    s3: s3.optional().describe('Keep artifacts in an S3-compatible bucket; absent: in files below dataDir'),
    collect: z
      .strictObject({
        graceHours: z
          .number()
          .min(1 / 60)
          .default(24)
          .describe('Garbage collection touches nothing younger'),
        deletedDays: z
          .number()
          .min(0)
          .default(30)
          .describe('So long deleted runs, logged models and experiments can be restored; then they go for good'),
        everyHours: z.number().min(0).default(24).describe('0: only when it is asked for'),
      })
      .prefault({}),
  })
  .prefault({});
