import { sql } from 'kysely';
import { z } from 'zod';
import type { Db } from '../database/database.ts';
import type { LifecycleStage } from '../database/tables/tracking.ts';
import { invalidParameter, shown } from '../errors.ts';
import { int64, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { parseFilter, parseOrderBy } from '../search/filter.ts';
import { decodePageToken, encodePageToken, type Position, queryFingerprint } from '../search/page-token.ts';
import { readMetrics } from './metric-backlog.ts';
import { RUN_GRAMMAR } from './run-grammar.ts';
import { keysByIndex, type Phase, phaseQuery, phasesOf, type RunSearch } from './run-search-plan.ts';
import { type RunRow, runTexts } from './run-view.ts';
import type { TrackingContext } from './tracking.ts';

const MAX_RESULTS = 50_000;
const MAX_EXPERIMENTS = 5_000;
/** So many matches at most are worth collecting and sorting; of more the first page is found sooner in order. */
const FEW = 5_000;
/** Runs whose values are read at once; other requests are served in between. */
const SLICE = 500;

/** ViewType by name or by its number in MLflow's protobuf. */
export const viewType = z.union([
  z.enum(['ACTIVE_ONLY', 'DELETED_ONLY', 'ALL']),
  z
    .int()
    .min(1)
    .max(3)
    .transform((number) => (['ACTIVE_ONLY', 'DELETED_ONLY', 'ALL'] as const)[number - 1]),
]);

export function stagesOf(view: 'ACTIVE_ONLY' | 'DELETED_ONLY' | 'ALL' | null | undefined): LifecycleStage[] {
  if (view === 'ALL') return ['active', 'deleted'];
  return view === 'DELETED_ONLY' ? ['deleted'] : ['active'];
}

const requestSchema = z.object({
  experiment_ids: z.array(required).default([]),
  filter: text,
  run_view_type: viewType.nullish(),
  max_results: int64.nullish(),
  order_by: z.array(z.string()).default([]),
  page_token: text,
});

type FoundRow = RunRow & Record<string, Position[number]>;

/** The comparison whose matches are fewest and few, as a query for their keys. */
async function startFromFew(db: Db, search: RunSearch): Promise<ReturnType<typeof keysByIndex>> {
  let best: ReturnType<typeof keysByIndex>;
  let fewest = FEW + 1;
  for (const comparison of search.comparisons) {
    const keys = keysByIndex(comparison, search);
    if (keys === undefined) continue;
    const { rows } = await sql<{ n: number }>`SELECT count(*) AS n FROM (${keys} LIMIT ${fewest}) AS few`.execute(db);
    if (rows[0].n >= fewest) continue;
    best = keys;
    fewest = rows[0].n;
  }
  return best;
}

interface Found {
  row: FoundRow;
  phase: number;
}

async function findRuns(
  db: Db,
  search: RunSearch,
  phases: readonly Phase[],
  start: { phase: number; place: Position | undefined },
  limit: number,
): Promise<Found[]> {
  const few = search.kind === 'sqlite' ? await startFromFew(db, search) : undefined;
  const found: Found[] = [];
  for (let phase = start.phase; phase < phases.length && found.length < limit; phase++) {
    const place = phase === start.phase ? start.place : undefined;
    const query = phaseQuery(search, phases[phase], few, place, limit - found.length);
    const { rows } = await sql<FoundRow>`${query}`.execute(db);
    for (const row of rows) found.push({ row, phase });
  }
  return found;
}

/** Tokens hold the phase and the place in it, filled up to one length. */
function readToken(token: string | null | undefined, fingerprint: string, phases: readonly Phase[]) {
  const longest = Math.max(...phases.map(({ keys }) => keys.length));
  const values = decodePageToken(token, fingerprint, longest + 1);
  if (values === undefined) return { phase: 0, place: undefined };
  const [phase, ...place] = values;
  const { keys } = phases[phase as number] ?? { keys: undefined };
  if (keys === undefined) throw invalidParameter('Invalid page token: take next_page_token of the answer before');
  return { phase: phase as number, place: place.slice(0, keys.length) };
}

function writeToken(fingerprint: string, phases: readonly Phase[], { row, phase }: Found): string {
  const longest = Math.max(...phases.map(({ keys }) => keys.length));
  const place = Array.from({ length: longest }, (_, i) => row[`place_${i}`] ?? null);
  return encodePageToken(fingerprint, [phase, ...place]);
}

async function searchRuns({ database }: TrackingContext, request: z.output<typeof requestSchema>): Promise<string> {
  const { experiment_ids, filter, run_view_type, order_by, page_token } = request;
  const limit = request.max_results ?? 1000;
  if (limit < 1 || limit > MAX_RESULTS)
    throw invalidParameter(
      `Invalid value ${shown(limit)} for parameter 'max_results' supplied: It must be at most ${MAX_RESULTS} and at least 1`,
    );
  if (experiment_ids.length > MAX_EXPERIMENTS)
    throw invalidParameter(
      `experiment_ids has ${experiment_ids.length} values; at most ${MAX_EXPERIMENTS} are allowed`,
    );
  const search: RunSearch = {
    kind: database.kind,
    experiments: [...new Set(experiment_ids.filter((id) => /^\d{1,15}$/.test(id)).map(Number))],
    stages: stagesOf(run_view_type),
    comparisons: parseFilter(filter, RUN_GRAMMAR),
    orders: parseOrderBy(order_by, RUN_GRAMMAR),
  };
  const phases = phasesOf(search);
  const fingerprint = queryFingerprint([experiment_ids, filter ?? '', run_view_type ?? '', order_by]);
  const start = readToken(page_token, fingerprint, phases);
  if (search.experiments.length === 0) return '{}';
  return readMetrics(database, async (db) => {
    const found = await findRuns(db, search, phases, start, limit + 1);
    const page = found.slice(0, limit);
    const texts: string[] = [];
    for (let i = 0; i < page.length; i += SLICE) {
      if (i > 0) await new Promise((resolve) => setImmediate(resolve));
      const rows = page.slice(i, i + SLICE).map(({ row }) => row);
      for (const run of await runTexts(db, search.kind, rows)) texts.push(run);
    }
    const runs = texts.length === 0 ? '' : `"runs":[${texts.join(',')}]`;
    if (found.length <= limit) return `{${runs}}`;
    return `{${runs},"next_page_token":"${writeToken(fingerprint, phases, page[page.length - 1])}"}`;
  });
}

export function runSearchRoute(context: TrackingContext): RestRoute {
  return jsonRoute({
    method: 'POST',
    path: '/api/2.0/mlflow/runs/search',
    operationId: 'mlflowSearchRuns',
    summary: 'Search runs by filter and order, page by page',
    request: requestSchema,
    handle: (request) => searchRuns(context, request),
  });
}
