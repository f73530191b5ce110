import { invalidArgument } from '../../shared/errors.ts';
import { type FeatureSet, viewOf } from '../documents/catalog.ts';
import type { FeatureStore } from '../documents/store.ts';
import type { TrainingData } from '../offline/training-data.ts';
import { hasWindows } from '../windows/events.ts';
import { newest } from './rows.ts';
import type { FeatureWriter, PushResult } from './writer.ts';

export interface MaterializeWish {
  /** Undefined: all. */
  views: readonly string[] | undefined;
  tenant: string;
  /** Milliseconds since 1970; absent: since the last time. */
  from?: number;
  until: number;
}

export interface MaterializeResult extends PushResult {
  view: string;
  from: string;
  until: string;
  rejected: number;
  problems: string[];
}

/** Where it begins for a view that was never materialised and whose values do not age: Feast's year. */
const FIRST_SPAN_MS = 365 * 24 * 3600 * 1000;

/**
 * From the views' files, their topics and what was pushed for training into the online store. Rejects with
 * invalid_argument or not_found before anything is written.
 */
export async function materialize(
  wish: MaterializeWish,
  set: FeatureSet,
  openStore: () => Promise<FeatureStore>,
  data: TrainingData,
  writer: FeatureWriter,
): Promise<MaterializeResult[]> {
  const { tenant, until } = wish;
  if (wish.from !== undefined && wish.from >= until)
    throw invalidArgument(`start_ts (${isoTime(wish.from)}) must be before end_ts (${isoTime(until)})`);
  const chosen = wish.views === undefined ? [...set.views.values()] : wish.views.map((name) => viewOf(set, name));
  const store = await openStore();
  const results: MaterializeResult[] = [];
  for (const view of chosen) {
    const from = wish.from ?? (await store.materialized(view.name, tenant)) ?? until - (view.ttlMs || FIRST_SPAN_MS);
    const done = { view: view.name, from: isoTime(from), until: isoTime(until) };
    if (hasWindows(view)) {
      const { events, kept, rejected, problems } = await writer.rebuild(tenant, view);
      results.push({ ...done, rows: events.length, kept, rejected, problems });
      continue;
    }
    const span = { from, until, now: Date.now() };
    const { rows, rejected, problems } = await data.rows(tenant, view, span);
    const kept = await writer.put(tenant, view, newest(rows));
    await store.putMaterialized(view.name, tenant, until);
    results.push({ ...done, rows: rows.length, kept, rejected, problems });
  }
  return results;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
