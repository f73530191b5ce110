import { z } from 'zod';
import { duration } from './units.ts';

/** `monitoring`: monitors, and where they learn of requests. */
export const monitoringSchema = z
  .strictObject({
    files: z
      .array(z.string().min(1))
      .default([])
      .describe('Monitor files: paths, folders (their *.yaml and *.yml), or patterns with * in the last part'),
    source: z
      .enum(['log', 'kafka'])
      .default('log')
      .describe("'log': the requests of this server; 'kafka': the topics that all gateways write to"),
    group: z.string().min(1).default('monitors').describe('With kafka: end of the consumer group'),
    sessionTimeout: duration
      .refine((ms) => ms >= 1000, 'at least 1s')
      .default(60_000)
      .describe('With kafka: after it a server that was killed has lost its place in the group, and another one reads'),
    keepWindows: z.number().int().min(100).max(1_000_000).default(10_000).describe('Of each monitor, in the database'),
  })
  .prefault({});

export type MonitoringConfig = z.infer<typeof monitoringSchema>;
