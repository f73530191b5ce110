import { z } from 'zod';
import type { Db } from '../database/database.ts';
import { inKeys, run } from '../database/statements.ts';
import { invalidParameter } from '../errors.ts';
import { int64, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { decodePageToken, encodePageToken, queryFingerprint } from '../search/page-token.ts';
import { readMetrics } from './metric-backlog.ts';
import { metricJson } from './metrics.ts';
import { findRun, givenRunId } from './run-ref.ts';
import { runId } from './runs.ts';
import type { TrackingContext } from './tracking.ts';

const MAX_PAGE = 25_000;
const MAX_BULK_RUNS = 100;
/** Between two turns of the event loop, so that a history of millions of points stops nobody. */
const SLICE = 5_000;

interface PointRow {
  timestamp: number;
  step: number;
  value: number;
  is_nan: number;
}

const ORDER = 'ORDER BY timestamp, step, value, is_nan';
const FIRST = `SELECT timestamp, step, value, is_nan FROM metrics WHERE run_key = $1 AND key = $2 ${ORDER} LIMIT $3`;
const NEXT = `SELECT timestamp, step, value, is_nan FROM metrics
  WHERE run_key = $1 AND key = $2 AND (timestamp, step, value, is_nan) > ($3, $4, $5, $6) ${ORDER} LIMIT $7`;

type Place = readonly [number, number, number, number];

/** Points of one metric behind a place, at most `limit`. */
async function readPoints(
  db: Db,
  runKey: number,
  key: string,
  limit: number,
  from: Place | undefined,
): Promise<PointRow[]> {
  const points: PointRow[] = [];
  let place = from;
  while (points.length < limit) {
    const count = Math.min(SLICE, limit - points.length);
    const slice: PointRow[] =
      place === undefined
        ? await run<PointRow>(db, FIRST, [runKey, key, count])
        : await run<PointRow>(db, NEXT, [runKey, key, ...place, count]);
    for (const point of slice) points.push(point);
    if (slice.length < count) break;
    place = placeOf(slice[slice.length - 1]);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return points;
}

function placeOf({ timestamp, step, value, is_nan }: PointRow): Place {
  return [timestamp, step, value, is_nan];
}

function pointJson(key: string, { timestamp, step, value, is_nan }: PointRow): string {
  return metricJson({ key, value, isNan: is_nan === 1 ? 1 : 0, timestamp, step });
}

async function history(
  db: Db,
  id: string,
  key: string,
  maxResults: number | undefined,
  token: string | null | undefined,
): Promise<string> {
  const fingerprint = queryFingerprint([id, key]);
  const from = decodePageToken(token, fingerprint, 4) as Place | undefined;
  const { run_key } = await findRun(db, id);
  const limit = maxResults ?? Number.POSITIVE_INFINITY;
  const points = await readPoints(db, run_key, key, limit, from);
  const list = points.length === 0 ? '' : `"metrics":[${points.map((point) => pointJson(key, point)).join(',')}]`;
  if (points.length < limit) return `{${list}}`;
  const next = encodePageToken(fingerprint, placeOf(points[points.length - 1]));
  return `{${list},"next_page_token":"${next}"}`;
}

interface Interval {
  run_ids: readonly string[];
  metric_key: string;
  start_step: number | undefined;
  end_step: number | undefined;
  max_results: number;
}

/** At most about `max_results` steps of each run, evenly spread, the first and the last among them. */
async function bulkInterval(db: Db, context: TrackingContext, asked: Interval): Promise<string> {
  const { metric_key: key } = asked;
  const start = asked.start_step ?? Number.MIN_SAFE_INTEGER;
  const end = asked.end_step ?? Number.MAX_SAFE_INTEGER;
  const texts: string[] = [];
  for (const id of asked.run_ids) {
    const { run_key } = await findRun(db, id);
    const steps = await run<{ step: number }>(
      db,
      'SELECT DISTINCT step FROM metrics WHERE run_key = $1 AND key = $2 AND step >= $3 AND step <= $4 ORDER BY step',
      [run_key, key, start, end],
    );
    const chosen = spread(
      steps.map(({ step }) => step),
      asked.max_results,
    );
    const points = await db
      .selectFrom('metrics')
      .select(['timestamp', 'step', 'value', 'is_nan'])
      .where('run_key', '=', run_key)
      .where('key', '=', key)
      .where(inKeys(context.database.kind, 'step', chosen))
      .orderBy('step')
      .orderBy('timestamp')
      .execute();
    for (const point of points) texts.push(`${pointJson(key, point).slice(0, -1)},"run_id":${JSON.stringify(id)}}`);
  }
  return texts.length === 0 ? '{}' : `{"metrics":[${texts.join(',')}]}`;
}

export function spread(steps: readonly number[], count: number): number[] {
  if (steps.length <= count) return [...steps];
  const chosen = new Set<number>();
  for (let i = 0; i < count; i++) chosen.add(steps[Math.round((i * (steps.length - 1)) / Math.max(1, count - 1))]);
  return [...chosen];
}

export function metricHistoryRoutes(context: TrackingContext): RestRoute[] {
  const { database } = context;
  return [
    jsonRoute({
      method: 'GET',
      path: '/api/2.0/mlflow/metrics/get-history',
      operationId: 'mlflowGetMetricHistory',
      summary: 'All points of a metric, by time',
      request: z.object({ ...runId, metric_key: required, max_results: int64.nullish(), page_token: text }),
      handle: (request) => {
        const { metric_key, max_results, page_token } = request;
        const limit = max_results ?? undefined;
        if (limit !== undefined && (limit < 1 || limit > MAX_PAGE))
          throw invalidParameter(`Invalid value ${limit} for parameter 'max_results' supplied: give 1 to ${MAX_PAGE}`);
        return readMetrics(database, (db) => history(db, givenRunId(request), metric_key, limit, page_token));
      },
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/2.0/mlflow/metrics/get-history-bulk-interval',
      operationId: 'mlflowGetMetricHistoryBulkInterval',
      summary: 'A sample of the points of a metric in several runs',
      request: z.object({
        run_ids: z.array(required).min(1),
        metric_key: required,
        start_step: int64.nullish(),
        end_step: int64.nullish(),
        max_results: int64.nullish(),
      }),
      handle: ({ run_ids, metric_key, start_step, end_step, max_results }) => {
        if (run_ids.length > MAX_BULK_RUNS)
          throw invalidParameter(
            `GetMetricHistoryBulkInterval request must specify at most ${MAX_BULK_RUNS} run_ids. Received ${run_ids.length}`,
          );
        const limit = max_results ?? 320;
        if (limit < 1 || limit > 2500)
          throw invalidParameter(`Invalid value ${limit} for parameter 'max_results' supplied: give 1 to 2500`);
        if (start_step != null && end_step != null && start_step > end_step)
          throw invalidParameter(`end_step must not be less than start_step; they are ${end_step} and ${start_step}`);
        return readMetrics(database, (db) =>
          bulkInterval(db, context, {
            run_ids,
            metric_key,
            start_step: start_step ?? undefined,
            end_step: end_step ?? undefined,
            max_results: limit,
          }),
        );
      },
    }),
  ];
}
