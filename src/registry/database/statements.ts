import { CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { DatabaseKind, Db } from './database.ts';

/** Runs a statement at once, as databases in this process do. */
export type DirectRun = (text: string, parameters: readonly unknown[]) => unknown[];

const direct = new WeakMap<Db, DirectRun>();

/** Lets `run` go past kysely, whose way of a query costs more than a small query does. */
export function runDirectly(db: Db, by: DirectRun): void {
  direct.set(db, by);
}

/**
 * Runs SQL text as it is, for the statements that are executed thousands of times a second: kysely's builders cost more
 * than SQLite does. Parameters are `$1, $2, …` in the order of their first use, which both databases read alike.
 */
export async function run<Row = never>(db: Db, text: string, parameters: readonly unknown[]): Promise<Row[]> {
  const here = direct.get(db);
  if (here !== undefined) return here(text, parameters) as Row[];
  const { rows } = await db.executeQuery<Row>(CompiledQuery.raw(text, parameters as unknown[]));
  return rows;
}

/** Rows per statement: few different texts, so that prepared ones are found again. */
const CHUNKS = [100, 30, 16, 8, 4, 2, 1];

type Values = readonly unknown[];

/**
 * Inserts rows, many at once. `tail` follows the values: ON CONFLICT and so on. A row that is refused fails the whole write
 * it belongs to. So on SQLite the statement is made OR FAIL: to undo it alone, SQLite would copy every page it changes,
 * which doubles what it costs.
 */
export class BulkInsert {
  private readonly into: string;
  private readonly columns: number;
  private readonly tail: string;
  private readonly texts = new Map<string, string>();

  constructor(table: string, columns: readonly string[], tail: string) {
    this.into = `INTO ${table} (${columns.join(', ')}) VALUES `;
    this.columns = columns.length;
    this.tail = tail;
  }

  /** @returns what a `tail` that ends in RETURNING gives, in no order. */
  run<Row = never>(db: Db, rows: readonly Values[]): Promise<Row[]> {
    return this.runAlike<Row>(db, [], rows);
  }

  /**
   * As run, of rows that have the values of the first columns in common: these are handed over once, which is most of
   * what handing over costs.
   */
  async runAlike<Row = never>(db: Db, common: Values, rows: readonly Values[]): Promise<Row[]> {
    const returned: Row[] = [];
    let from = 0;
    while (from < rows.length) {
      const left = rows.length - from;
      const count = CHUNKS.find((size) => size <= left) as number;
      const values = common.concat(...rows.slice(from, from + count));
      const found = await run<Row>(db, this.text(direct.has(db), common.length, count), values);
      if (found.length > 0) returned.push(...found);
      from += count;
    }
    return returned;
  }

  private text(embedded: boolean, common: number, count: number): string {
    const key = `${embedded}/${common}/${count}`;
    let text = this.texts.get(key);
    if (text === undefined) {
      const own = this.columns - common;
      const row = (i: number): string =>
        `(${Array.from({ length: this.columns }, (_, j) => `$${(j < common ? 0 : i * own) + j + 1}`).join(', ')})`;
      const head = `INSERT${embedded ? ' OR FAIL' : ''} ${this.into}`;
      text = `${head}${Array.from({ length: count }, (_, i) => row(i)).join(', ')} ${this.tail}`;
      this.texts.set(key, text);
    }
    return text;
  }
}

/** `column IN (keys)` by one parameter, however many keys there are. */
export function inKeys(kind: DatabaseKind, column: string, keys: readonly number[]): RawBuilder<boolean> {
  const list = JSON.stringify(keys);
  if (kind === 'sqlite') return sql`${sql.ref(column)} IN (SELECT value FROM json_each(${list}))`;
  return sql`${sql.ref(column)} IN (SELECT value::bigint FROM json_array_elements_text(${list}::json))`;
}

/** As inKeys, of texts. */
export function inTexts(kind: DatabaseKind, column: string, texts: readonly string[]): RawBuilder<boolean> {
  const list = JSON.stringify(texts);
  if (kind === 'sqlite') return sql`${sql.ref(column)} IN (SELECT value FROM json_each(${list}))`;
  return sql`${sql.ref(column)} IN (SELECT json_array_elements_text(${list}::json))`;
}

/** As inKeys, of two columns together. */
export function inPairs(
  kind: DatabaseKind,
  [first, second]: readonly [string, string],
  pairs: readonly (readonly [number, number])[],
): RawBuilder<boolean> {
  return pairsIn(kind, first, second, pairs, sql`::bigint`);
}

/** As inPairs, of texts. */
export function inTextPairs(
  kind: DatabaseKind,
  [first, second]: readonly [string, string],
  pairs: readonly (readonly [string, string])[],
): RawBuilder<boolean> {
  return pairsIn(kind, first, second, pairs, sql``);
}

/** @param cast what PostgreSQL makes of the texts that it finds in JSON */
function pairsIn(
  kind: DatabaseKind,
  first: string,
  second: string,
  pairs: readonly unknown[],
  cast: RawBuilder<unknown>,
): RawBuilder<boolean> {
  const list = JSON.stringify(pairs);
  const columns = sql`(${sql.ref(first)}, ${sql.ref(second)})`;
  if (kind === 'sqlite') {
    return sql`${columns} IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(${list}))`;
  }
  return sql`${columns} IN
    (SELECT (pair ->> 0)${cast}, (pair ->> 1)${cast} FROM json_array_elements(${list}::json) AS pair)`;
}
