import { z } from 'zod';

const s3 = z
  .strictObject({
    bucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'allowed: 3 to 63 lower-case letters, digits, "." and "-"')
      .describe('An existing bucket'),
    prefix: z
      .string()
      .regex(/^([\w.-]+\/)*$/, 'allowed: empty, or parts that each end in "/"')
      .default('switchyard/')
      .describe('Put before every key'),
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Of an S3-compatible store; absent: AWS'),
    region: z.string().default('us-east-1'),
    pathStyle: z.boolean().default(false).describe('Bucket in the path instead of the host name, as MinIO wants it'),
    accessKeyId: z.string().optional().describe('Absent: environment, profile or instance role'),
    secretAccessKey: z.string().optional(),
  })
  .refine((s) => (s.accessKeyId === undefined) === (s.secretAccessKey === undefined), {
    message: 'give accessKeyId and secretAccessKey, or neither',
  });

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
        everyHours: z.number().min(0).default(24).describe('0: only when it is asked for'),
      })
      .prefault({}),
  })
  .prefault({});
