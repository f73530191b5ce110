import { z } from 'zod';
import { flag } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import type { CollectAges, GarbageCollector } from './collect.ts';

/** An upload must be able to end within it: between storing a blob and naming it there is a moment. */
const MIN_GRACE_SECONDS = 60;

export function collectRoutes(collector: GarbageCollector, ages: CollectAges): RestRoute[] {
  return [
    jsonRoute({
      method: 'POST',
      path: '/api/v1/registry/gc',
      operationId: 'collectGarbage',
      summary:
        'Remove deleted runs, logged models and experiments for good, and blobs that nothing names; dry_run only counts',
      request: z.object({
        dry_run: flag.default(false),
        grace_seconds: z.number().min(MIN_GRACE_SECONDS).optional(),
      }),
      handle: async ({ dry_run, grace_seconds }) => {
        const given = grace_seconds === undefined ? undefined : grace_seconds * 1000;
        const asked = given === undefined ? ages : { graceMs: given, deletedMs: given };
        return { dry_run, ...(await collector.collect({ ...asked, dryRun: dry_run })) };
      },
    }),
  ];
}
