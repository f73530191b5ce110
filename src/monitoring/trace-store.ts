import type { RegistryDatabase } from '../registry/database/database.ts';
import { ANY_TIME, type TimeRange } from './record-search.ts';

/** A thread's ids are its random prefix and a count: they tell which of two requests came first. */
function placeOf(id: string): { prefix: string; count: number } | undefined {
  const found = /^(.+)-([0-9a-z]{1,10})(?:\.shadow)?$/.exec(id);
  return found === null ? undefined : { prefix: found[1], count: Number.parseInt(found[2], 36) };
}

const MOST_WINDOWS = 50_000;

/**
 * When a request was, by the windows whose first or last request came from the same gateway thread; and the numbers of
 * those between whose first and last request it lies. This tells also where its record is gone.
 */
export async function nearWindows(
  database: RegistryDatabase,
  id: string,
): Promise<{ range: TimeRange; windows: number[] }> {
  const place = placeOf(id);
  if (place === undefined) return { range: { ...ANY_TIME }, windows: [] };
  const [low, high] = [`${place.prefix}-`, `${place.prefix}.`];
  const rows = await database.read((db) =>
    db
      .selectFrom('monitor_windows')
      .select(['window_key', 'first_id', 'last_id', 'from_at', 'to_at'])
      .where((where) =>
        where.or([
          where.and([where('first_id', '>=', low), where('first_id', '<', high)]),
          where.and([where('last_id', '>=', low), where('last_id', '<', high)]),
        ]),
      )
      .orderBy('window_key', 'desc')
      .limit(MOST_WINDOWS)
      .execute(),
  );
  const range = { ...ANY_TIME };
  const windows: number[] = [];
  for (const row of rows) {
    const first = countIn(row.first_id, place.prefix);
    const last = countIn(row.last_id, place.prefix);
    if (first !== undefined && first <= place.count) range.from = Math.max(range.from, Number(row.from_at));
    if (last !== undefined && last >= place.count) range.to = Math.min(range.to, Number(row.to_at));
    if (first !== undefined && last !== undefined && first <= place.count && place.count <= last)
      windows.push(Number(row.window_key));
  }
  return { range, windows };
}

function countIn(id: string, prefix: string): number | undefined {
  const place = placeOf(id);
  return place?.prefix === prefix ? place.count : undefined;
}
