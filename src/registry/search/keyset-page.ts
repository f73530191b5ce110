import { type RawBuilder, sql } from 'kysely';
import type { Db } from '../database/database.ts';
import { encodePageToken, type Position } from './page-token.ts';
import { behind, orderClause, type SortKey } from './sql.ts';

export interface KeysetQuery {
  /** "e.*" and "experiments e". */
  columns: RawBuilder<unknown>;
  table: RawBuilder<unknown>;
  /** All of them hold; one at least. */
  conditions: readonly RawBuilder<boolean>[];
  /** Their order is total. */
  keys: readonly SortKey[];
  /** Undefined: from the first row on. */
  from: Position | undefined;
  limit: number;
  /** Of the whole query: a token goes on with this one only. */
  fingerprint: string;
}

/** One page of rows in the order of the keys, at most `limit` of them; `next` is empty on the last page. */
export async function readPage<Row>(
  db: Db,
  { columns, table, conditions, keys, from, limit, fingerprint }: KeysetQuery,
): Promise<{ rows: Row[]; next: { next_page_token?: string } }> {
  const places = sql.join(keys.map(({ expression }, i) => sql`${expression} AS ${sql.ref(`place_${i}`)}`));
  const all = from === undefined ? conditions : [...conditions, behind(keys, from)];
  const { rows } = await sql<Row & Record<string, Position[number]>>`
    SELECT ${columns}, ${places} FROM ${table} WHERE ${sql.join(all, sql` AND `)}
    ORDER BY ${orderClause(keys)} LIMIT ${limit + 1}`.execute(db);
  const page = rows.slice(0, limit);
  if (rows.length <= limit) return { rows: page, next: {} };
  const last = page[page.length - 1];
  const place = keys.map((_, i) => last[`place_${i}`]);
  return { rows: page, next: { next_page_token: encodePageToken(fingerprint, place) } };
}
