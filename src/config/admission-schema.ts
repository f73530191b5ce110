import { z } from 'zod';

const limits = z.strictObject({
  requestsPerSecond: z.number().positive().optional(),
  burst: z.number().positive().optional(),
  concurrency: z.number().int().positive().optional(),
  dailyQuota: z.number().int().positive().optional(),
});

const roles = z.array(z.enum(['infer', 'control'])).optional();
const maxPriority = z.number().int().min(0).optional();

/** One API key, in the admission section or in a file that it names. */
export const apiKeySchema = z.strictObject({
  tenant: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be the SHA-256 of the key, 64 lower-case hex digits'),
  roles,
  maxPriority,
  expires: z.string().optional(),
});

/** The admission section of switchyard.yaml; src/admission/admission-config.ts says what each field means. */
export const admissionSchema = z
  .strictObject({
    apiKeys: z.array(apiKeySchema).optional(),
    keysFile: z
      .string()
      .optional()
      .describe('YAML or JSON: a list of apiKeys, or an object with the list "keys"; read again when it changes'),
    jwt: z
      .array(
        z.strictObject({
          issuer: z.string(),
          audience: z.array(z.string()).min(1),
          jwksUrl: z.string().optional(),
          jwksFile: z.string().optional(),
          tenantClaim: z.string().optional(),
          rolesClaim: z.string().optional(),
          priorityClaim: z.string().optional(),
          clockToleranceSeconds: z.number().min(0).optional(),
          cacheSeconds: z.number().min(0).optional(),
          cooldownSeconds: z.number().min(0).optional(),
        }),
      )
      .optional(),
    certificates: z.array(z.strictObject({ name: z.string(), tenant: z.string(), roles, maxPriority })).optional(),
    anonymous: z.enum(['allow', 'deny']).optional(),
    anonymousRoles: roles,
    tenants: z
      .record(
        z.string(),
        z.strictObject({
          limits: limits.optional(),
          modelLimits: z.record(z.string(), limits).optional(),
          allowedModels: z.array(z.string()).optional(),
        }),
      )
      .optional(),
    defaultLimits: limits.optional(),
    redisUrl: z.string().optional().describe('Share limits between gateways through this Redis'),
  })
  .prefault({});
