import { CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { DatabaseKind, Db } from './database.ts';

/**
 * Runs SQL text as it is, for the statements that are executed thousands of times a second: kysely's builders cost more
 * than SQLite does. Parameters are `$1, $2, …` in the order of their first use, which both databases read alike.
 */
export async function run<Row = never>(db: Db, text: string, parameters: readonly unknown[]): Promise<Row[]> {
  const { rows } = await db.executeQuery<Row>(CompiledQuery.raw(text, parameters as unknown[]));
  return rows;
}

/** Rows per statement: few different texts, so that prepared ones are found again. */
const CHUNKS = [100, 30, 10, 3, 1];

/** Inserts rows, many at once. `tail` follows the values: ON CONFLICT and so on. */
export class BulkInsert {
  private readonly head: string;
  private readonly columns: number;
  private readonly tail: string;
  private readonly texts = new Map<number, string>();

  constructor(table: string, columns: readonly string[], tail: string) {
    this.head = `INSERT INTO ${table} (${columns.join(', ')}) VALUES `;
    this.columns = columns.length;
    this.tail = tail;
  }

  async run(db: Db, rows: readonly (readonly unknown[])[]): Promise<void> {
    let from = 0;
    while (from < rows.length) {
      const left = rows.length - from;
      const count = CHUNKS.find((size) => size <= left) as number;
      await run(db, this.text(count), count === 1 ? rows[from] : rows.slice(from, from + count).flat());
      from += count;
    }
  }

  private text(count: number): string {
    let text = this.texts.get(count);
    if (text === undefined) {
      const row = (i: number): string =>
        `(${Array.from({ length: this.columns }, (_, j) => `$${i * this.columns + j + 1}`).join(', ')})`;
      text = `${this.head}${Array.from({ length: count }, (_, i) => row(i)).join(', ')} ${this.tail}`;
      this.texts.set(count, text);
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
