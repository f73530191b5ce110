import { invalidArgument } from '../../shared/errors.ts';
import { type Columns, entityKey, type Selection, type View } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import type { Found, Lookup, OnlineStore } from '../store/online-store.ts';

export type FieldStatus = 'PRESENT' | 'NULL_VALUE' | 'NOT_FOUND' | 'OUTSIDE_MAX_AGE';

/** Entities by join key: columns of equal length. */
export type EntityColumns = ReadonlyMap<string, readonly unknown[]>;

/** The rows of one view: which distinct key each row of the request asks for, and what was found for it. */
export interface ViewRows {
  view: Columns;
  fields: readonly number[];
  /** Row of the request → position in `found`. */
  rows: readonly number[];
  found: readonly (Found | undefined)[];
}

/** Rows of the columns. Throws invalid_argument. */
export function rowCount(entities: EntityColumns, most: number): number {
  let rows = -1;
  for (const [name, column] of entities) {
    if (rows >= 0 && column.length !== rows)
      throw invalidArgument(`entities: ${name} has ${column.length} rows where the others have ${rows}`);
    rows = column.length;
  }
  if (rows < 0) throw invalidArgument('entities: name at least one join key, such as {"driver_id": [1001]}');
  if (rows > most) throw invalidArgument(`entities: ${rows} rows; at most ${most} are allowed, ask in parts`);
  return rows;
}

/** Reads the features of all rows in one round trip. Throws or rejects with invalid_argument, unavailable. */
export function readRows(
  store: OnlineStore,
  tenant: string,
  selections: readonly Selection[],
  entities: EntityColumns,
  rows: number,
): ViewRows[] | Promise<ViewRows[]> {
  if (selections.length === 0) return [];
  const keyed = selections.map(({ view, fields }) => ({ view, fields, ...keysOf(view, entities, rows) }));
  const answers = store.read(tenant, keyed);
  const join = (found: Awaited<typeof answers>): ViewRows[] =>
    keyed.map(({ view, fields, rows: of }, i) => ({ view, fields, rows: of, found: found[i] }));
  return answers instanceof Promise ? answers.then(join) : join(answers);
}

/** An entity that several rows name is read once. */
function keysOf(view: View, entities: EntityColumns, rows: number): Pick<Lookup, 'keys'> & { rows: number[] } {
  for (const { name } of view.joinKeys)
    if (!entities.has(name))
      throw invalidArgument(`entities: feature view ${view.name} needs the join key ${name}, which is not given`);
  const positions = new Map<string, number>();
  const keys: string[] = [];
  const of = new Array<number>(rows);
  for (let row = 0; row < rows; row++) {
    const key = entityKey(view, (name) => entities.get(name)?.[row], `entities, row ${row}: `);
    let position = positions.get(key);
    if (position === undefined) {
      position = keys.length;
      positions.set(key, position);
      keys.push(key);
    }
    of[row] = position;
  }
  return { keys, rows: of };
}

/** @param now milliseconds since 1970 */
export function statusOf(
  view: Pick<Columns, 'ttlMs'>,
  found: Found | undefined,
  value: FeatureValue | undefined,
  now: number,
): FieldStatus {
  if (found === undefined || value === undefined) return 'NOT_FOUND';
  if (view.ttlMs > 0 && now - found.time > view.ttlMs) return 'OUTSIDE_MAX_AGE';
  return value === null ? 'NULL_VALUE' : 'PRESENT';
}
