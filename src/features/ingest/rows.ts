import { invalidArgument } from '../../shared/errors.ts';
import { entityKey, type View } from '../documents/catalog.ts';
import { readFeature, readTime } from '../documents/values.ts';
import type { EntityColumns } from '../online/read.ts';
import type { Row } from '../store/online-store.ts';
import { AheadError, eventColumns, eventOf, type WindowView } from '../windows/events.ts';
import type { WindowEvent } from '../windows/state.ts';

/** Event times further ahead than this are a clock that is wrong: such a row would hide all true ones until then. */
const MAX_AHEAD_MS = 24 * 3600 * 1000;

/**
 * Rows of a data frame, by columns. Every join key, the timestamp and every feature must be there; further columns are
 * left out. Throws invalid_argument naming row and column; no row is taken then.
 */
export function rowsOf(view: View, columns: EntityColumns, maxRows: number, now: number): Row[] {
  const needed = [...view.joinKeys.map(({ name }) => name), view.timestamp, ...view.names];
  const rows = frameRows(view, columns, needed, maxRows);
  return Array.from({ length: rows }, (_, row) =>
    rowOf(view, (name) => columns.get(name)?.[row], now, `df, row ${row}: `),
  );
}

/** The same for a view of aggregates: its events, which arrive now. */
export function eventsOf(view: WindowView, columns: EntityColumns, maxRows: number, now: number): WindowEvent[] {
  const rows = frameRows(view, columns, eventColumns(view), maxRows);
  try {
    return Array.from({ length: rows }, (_, row) =>
      eventOf(view, (name) => columns.get(name)?.[row], now, now, `df, row ${row}: `),
    );
  } catch (error) {
    throw error instanceof AheadError ? invalidArgument(error.message) : error;
  }
}

function frameRows(view: View, columns: EntityColumns, needed: readonly string[], maxRows: number): number {
  const missing = needed.filter((name) => !columns.has(name));
  if (missing.length > 0)
    throw invalidArgument(`df: feature view ${view.name} needs the columns ${missing.slice(0, 20).join(', ')} too`);
  const rows = (columns.get(view.timestamp) as readonly unknown[]).length;
  for (const [name, column] of columns)
    if (column.length !== rows)
      throw invalidArgument(`df: ${name.slice(0, 100)} has ${column.length} rows where the others have ${rows}`);
  if (rows > maxRows) throw invalidArgument(`df: ${rows} rows; at most ${maxRows} are allowed, push in parts`);
  return rows;
}

/** One row of named values. Throws invalid_argument; `where` says which one it is. */
export function rowOf(view: View, valueAt: (name: string) => unknown, now: number, where: string): Row {
  const time = readTime(valueAt(view.timestamp), `${where}${view.timestamp}`);
  if (time > now + MAX_AHEAD_MS)
    throw invalidArgument(
      `${where}${view.timestamp} is ${new Date(time).toISOString()}, more than a day ahead of this server's clock`,
    );
  return {
    key: entityKey(view, valueAt, where),
    time,
    values: view.fields.map(({ name, type, length }) =>
      readFeature(type, length, valueAt(name) ?? null, `${where}${name}`),
    ),
  };
}

/** A row of a message or a line: every feature must be named, if only as null. Throws invalid_argument. */
export function rowOfObject(view: View, value: unknown, now: number): Row {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument('a row must be a JSON object');
  const row = value as Record<string, unknown>;
  const missing = view.names.filter((name) => !Object.hasOwn(row, name));
  if (missing.length > 0)
    throw invalidArgument(`feature view ${view.name} needs ${missing.slice(0, 20).join(', ')} too, if only as null`);
  return rowOf(view, (name) => (Object.hasOwn(row, name) ? row[name] : undefined), now, '');
}

/** The newest row of each key, of those with the same time the last. */
export function newest(rows: Iterable<Row>): Row[] {
  const found = new Map<string, Row>();
  for (const row of rows) {
    const before = found.get(row.key);
    if (before === undefined || before.time <= row.time) found.set(row.key, row);
  }
  return [...found.values()];
}
