/**
 * The join that keeps the future out of a training set: each label gets the latest feature row of its entity that was
 * known at the label's time and had not expired.
 *
 * `latestRows` and `joinBatches` work on columns in any order; `joinSorted` on streams that come in order of time, and
 * keeps one row per entity only.
 */
import { invalidArgument } from '../shared/errors.ts';
import { type Batch, type Cell, type Field, fieldIndex, type Schema, type Source } from './batch.ts';

/** Rows that belong to entities at times. Both arrays have one element per row. */
export interface EntityTimes {
  /** Which entity; any text that is the same for the same entity (see entityKey). */
  keys: readonly string[];
  /** Event time, milliseconds since 1970. */
  times: ArrayLike<number>;
}

export interface FeatureTimes extends EntityTimes {
  /** When a row was written: of two rows with the same event time the later one counts. Absent: their order does. */
  created?: ArrayLike<number> | undefined;
}

/**
 * Index of the feature row of each label: the latest whose event time is at most the label's and at least the label's
 * minus `ttlMs` (Infinity: never expires). -1: none. Of equal event times the later `created` counts, then the later
 * row. O(n log n). Throws invalid_argument naming a row whose time is no number.
 */
export function latestRows(labels: EntityTimes, features: FeatureTimes, ttlMs: number): Int32Array {
  const labelOrder = ordered(labels.times, undefined, 'label');
  const featureOrder = ordered(features.times, features.created, 'feature');
  const found = new Int32Array(labels.keys.length).fill(-1);
  const latest = new Map<string, number>();
  let next = 0;
  for (const label of labelOrder) {
    const time = labels.times[label];
    while (next < featureOrder.length && features.times[featureOrder[next]] <= time) {
      const row = featureOrder[next++];
      latest.set(features.keys[row], row);
    }
    const row = latest.get(labels.keys[label]);
    if (row !== undefined && features.times[row] >= time - ttlMs) found[label] = row;
  }
  return found;
}

/** Row numbers by time, then created, then as they come. */
function ordered(times: ArrayLike<number>, created: ArrayLike<number> | undefined, what: string): Uint32Array {
  const order = new Uint32Array(times.length);
  let sorted = true;
  for (let i = 0; i < times.length; i++) {
    if (!Number.isFinite(times[i]))
      throw invalidArgument(
        `${what} row ${i + 1}: the event time is ${String(times[i])}; give milliseconds since 1970`,
      );
    order[i] = i;
    if (i > 0 && (times[i] < times[i - 1] || created !== undefined)) sorted = false;
  }
  if (sorted) return order;
  return order.sort((a, b) => times[a] - times[b] || (created === undefined ? 0 : created[a] - created[b]) || a - b);
}

/** One text for the values of an entity's key columns; different values never give the same text. */
export function entityKey(values: readonly Cell[]): string {
  if (values.length === 1 && typeof values[0] === 'string') return `s${values[0]}`;
  return values
    .map((value) => (typeof value === 'string' ? `s${value.length}:${value}` : `v${String(value)};`))
    .join('');
}

/** Where a table says which entity a row belongs to, and when it held. */
export interface TimedColumns {
  /** Key columns; the same names on both sides. */
  entity: readonly string[];
  /** A timestamp column, or a number column of milliseconds. */
  time: string;
  created?: string | undefined;
}

export function entityTimes(schema: Schema, batch: Batch, { entity, time, created }: TimedColumns): FeatureTimes {
  const keys = entity.map((name) => batch.columns[fieldIndex(schema, name)]);
  const numbers = (name: string): number[] => batch.columns[fieldIndex(schema, name)].map(milliseconds);
  return {
    keys: Array.from({ length: batch.rows }, (_, row) => entityKey(keys.map((column) => column[row]))),
    times: numbers(time),
    ...(created === undefined ? {} : { created: numbers(created) }),
  };
}

function milliseconds(cell: Cell): number {
  return cell === null ? Number.NaN : Number(cell);
}

export interface JoinSpec {
  labels: TimedColumns;
  features: TimedColumns;
  /** Infinity: never expires. */
  ttlMs: number;
  /** Feature columns to take; default: all but keys and times. */
  columns?: readonly string[] | undefined;
  /** In front of the names of taken columns. */
  prefix?: string | undefined;
}

/** The feature columns that a join adds, and where they stand in the features' schema. Throws invalid_argument. */
function added(labels: Schema, features: Schema, spec: JoinSpec): { fields: Field[]; places: number[] } {
  const { entity, time, created } = spec.features;
  const own = new Set([...entity, time, ...(created === undefined ? [] : [created])]);
  const names = spec.columns ?? features.fields.map(({ name }) => name).filter((name) => !own.has(name));
  const places = names.map((name) => fieldIndex(features, name));
  const fields = places.map((place) => {
    const { name, type } = features.fields[place];
    return { name: `${spec.prefix ?? ''}${name}`, type };
  });
  const twice = fields.find(({ name }) => labels.fields.some((field) => field.name === name));
  if (twice === undefined) return { fields, places };
  throw invalidArgument(
    `labels and features both have a column ${JSON.stringify(twice.name)}; take other columns, or give a prefix`,
  );
}

/** Labels with the features that were known at their time. Rows and their order are the labels'. */
export function joinBatches(
  labels: { schema: Schema; batch: Batch },
  features: { schema: Schema; batch: Batch },
  spec: JoinSpec,
): { schema: Schema; batch: Batch; matched: number } {
  const { fields, places } = added(labels.schema, features.schema, spec);
  const rows = latestRows(
    entityTimes(labels.schema, labels.batch, spec.labels),
    entityTimes(features.schema, features.batch, spec.features),
    spec.ttlMs,
  );
  const columns = places.map((place) => {
    const column = features.batch.columns[place];
    return Array.from(rows, (row) => (row < 0 ? null : column[row]));
  });
  return {
    schema: { fields: [...labels.schema.fields, ...fields] },
    batch: { rows: labels.batch.rows, columns: [...labels.batch.columns, ...columns] },
    matched: rows.reduce((count, row) => (row < 0 ? count : count + 1), 0),
  };
}

/**
 * The same for sources that come in order of event time, as logs and ordered queries do: memory holds one row per entity,
 * however long they are. Of equal event times the row that comes later counts. Throws invalid_argument when a row is
 * older than the one before it.
 */
export function joinSorted(labels: Source, features: Source, spec: JoinSpec): Source {
  const { fields, places } = added(labels.schema, features.schema, spec);
  return {
    schema: { fields: [...labels.schema.fields, ...fields] },
    async *batches() {
      const latest = new Map<string, { time: number; cells: readonly Cell[] }>();
      const rows = timedRows(features, spec.features, places, 'feature');
      try {
        let next = await rows.next();
        let before = Number.NEGATIVE_INFINITY;
        for await (const batch of labels.batches()) {
          const { keys, times } = entityTimes(labels.schema, batch, spec.labels);
          const columns = places.map((): Cell[] => []);
          for (let i = 0; i < batch.rows; i++) {
            before = inOrder(times[i], before, 'label');
            while (next.done !== true && next.value.time <= times[i]) {
              latest.set(next.value.key, next.value);
              next = await rows.next();
            }
            const row = latest.get(keys[i]);
            const known = row !== undefined && row.time >= times[i] - spec.ttlMs;
            for (let c = 0; c < columns.length; c++) columns[c].push(known ? row.cells[c] : null);
          }
          yield { rows: batch.rows, columns: [...batch.columns, ...columns] };
        }
      } finally {
        await rows.return(undefined);
      }
    },
  };
}

async function* timedRows(source: Source, columns: TimedColumns, places: readonly number[], what: string) {
  let before = Number.NEGATIVE_INFINITY;
  for await (const batch of source.batches()) {
    const { keys, times } = entityTimes(source.schema, batch, columns);
    for (let i = 0; i < batch.rows; i++) {
      before = inOrder(times[i], before, what);
      yield { key: keys[i], time: times[i], cells: places.map((place) => batch.columns[place][i]) };
    }
  }
}

function inOrder(time: number, before: number, what: string): number {
  if (time >= before) return time;
  throw invalidArgument(
    `a ${what} row of the time ${String(time)} comes after one of ${before}; sort by event time, or join in memory`,
  );
}
