import { latestRows } from '../../datasets/point-in-time.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { type Columns, entityKey, type Selection, type View } from '../documents/catalog.ts';
import { type FeatureValue, readTime } from '../documents/values.ts';
import type { EntityColumns } from '../online/read.ts';
import type { Row } from '../store/online-store.ts';
import { hasWindows, type WindowView } from '../windows/events.ts';
import { windowsAt } from '../windows/replay.ts';
import type { WindowEvent } from '../windows/state.ts';

/** Column of an entity frame that says when each row's features must have been known. */
export const FRAME_TIME = 'event_timestamp';

export interface FeatureColumn {
  view: Columns;
  field: number;
  name: string;
  /** One for each row of the frame; null: nothing was known, or only what was too old. */
  values: FeatureValue[];
}

/** Times of a frame's rows. Throws invalid_argument. */
export function frameTimes(frame: EntityColumns): number[] {
  const column = frame.get(FRAME_TIME);
  if (column === undefined)
    throw invalidArgument(`entities: the column ${FRAME_TIME} is missing: as of when are features wanted?`);
  return column.map((value, row) => readTime(value, `entities, row ${row}: ${FRAME_TIME}`));
}

/**
 * What was known of each row's entity at its time: for every feature the newest row with an event time up to it, and
 * within the TTL. Throws invalid_argument.
 * Of a view with aggregates: what its windows held then.
 * @param rowsOf every row that a view has for training
 * @param eventsOf every event
 */
export async function historicalFeatures(
  selections: readonly Selection[],
  frame: EntityColumns,
  times: readonly number[],
  rowsOf: (view: View) => Promise<readonly Row[]>,
  eventsOf: (view: WindowView) => Promise<readonly WindowEvent[]>,
): Promise<FeatureColumn[]> {
  const columns: FeatureColumn[] = [];
  for (const { view, fields } of selections) {
    const keys = times.map((_, row) => entityKey(view, (name) => frame.get(name)?.[row], `entities, row ${row}: `));
    if (hasWindows(view)) {
      const known = windowsAt(view.windows, await eventsOf(view), keys, times, fields);
      for (const [i, field] of fields.entries())
        columns.push({ view, field, name: view.names[field], values: known.map((row) => row?.[i] ?? null) });
      continue;
    }
    const rows = await rowsOf(view);
    const features = { keys: rows.map(({ key }) => key), times: Float64Array.from(rows, ({ time }) => time) };
    const found = latestRows({ keys, times }, features, view.ttlMs === 0 ? Number.POSITIVE_INFINITY : view.ttlMs);
    for (const field of fields)
      columns.push({
        view,
        field,
        name: view.names[field],
        values: Array.from(found, (row) => (row < 0 ? null : (rows[row].values?.[field] ?? null))),
      });
  }
  return columns;
}
