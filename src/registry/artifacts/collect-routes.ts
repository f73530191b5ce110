import { z } from 'zod';
import { flag } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import type { GarbageCollector } from './collect.ts';

/** An upload must be able to end within it: between storing a blob and naming it there is a moment. */
const MIN_GRACE_SECONDS = 60;

export function collectRoutes(collector: GarbageCollector, graceHours: number): RestRoute[] {
  return [
    jsonRoute({
      method: 'POST',
      path: '/api/v1/registry/gc',
      operationId: 'collectGarbage',
      summary:
        'Remove what deleted runs, models and experiments left, and blobs that nothing names; dry_run only counts',
      request: z.object({
        dry_run: flag.default(false),
        grace_seconds: z.number().min(MIN_GRACE_SECONDS).optional(),
      }),
      handle: async ({ dry_run, grace_seconds }) => {
        const graceMs = grace_seconds === undefined ? graceHours * 3_600_000 : grace_seconds * 1000;
        return { dry_run, ...(await collector.collect({ graceMs, dryRun: dry_run })) };
      },
    }),
  ];
}
