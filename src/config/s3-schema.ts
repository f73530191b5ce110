import { z } from 'zod';

/** How a bucket of an S3-compatible store is reached, wherever a setting names one. */
export const s3Fields = {
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
};

/** Where in a bucket a setting's objects lie. */
export const s3Prefix = z
  .string()
  .regex(/^([\w.-]+\/)*$/, 'allowed: empty, or parts that each end in "/"')
  .default('switchyard/')
  .describe('Put before every key');

export const bothKeys = (s3: { accessKeyId?: string; secretAccessKey?: string }): boolean =>
  (s3.accessKeyId === undefined) === (s3.secretAccessKey === undefined);
export const BOTH_KEYS = { message: 'give accessKeyId and secretAccessKey, or neither' };
