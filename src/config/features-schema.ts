import { z } from 'zod';

/** `features`: feature views and where their newest values are kept for serving. */
export const featuresSchema = z
  .strictObject({
    files: z
      .array(z.string().min(1))
      .default([])
      .describe('Feature files: paths, folders (their *.yaml and *.yml), or patterns with * in the last part'),
    redisUrl: z
      .string()
      .regex(/^rediss?:\/\/\S+$/, "allowed: 'redis://[user:password@]host:port[/database]', or rediss:// for TLS")
      .optional()
      .describe('Keeps online values in Redis, for several gateways; absent: in memory'),
    memoryEntries: z
      .number()
      .int()
      .positive()
      .max(10_000_000)
      .default(100_000)
      .describe(
        "Rows (of one view and entity) in memory, on each gateway thread, and as many entities' windows; the least recently used go first",
      ),
    timeoutMs: z
      .number()
      .int()
      .positive()
      .max(60_000)
      .default(1000)
      .describe('An online store that has not answered by then counts as unavailable'),
    maxRows: z
      .number()
      .int()
      .positive()
      .max(100_000)
      .default(10_000)
      .describe('Entities that one request may ask for, and rows that one push may bring'),
  })
  .prefault({});

export type FeaturesConfig = z.output<typeof featuresSchema>;
