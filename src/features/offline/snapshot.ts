import { type Cell, type FieldType, type Source, sourceOf } from '../../datasets/batch.ts';
import type { View } from '../documents/catalog.ts';
import type { EntityType } from '../documents/values.ts';
import { newest } from '../ingest/rows.ts';
import type { Row } from '../store/online-store.ts';
import { featureCell, featureType } from './frame-source.ts';

/**
 * What was known of a view's entities at a time: of each the newest of `rows`, which are none after it, unless that was
 * older than the view's TTL. Columns: join keys, event time, features; rows in the order of their keys, so that the same
 * knowledge always is the same bytes. Undefined: nothing was known.
 */
export function snapshot(view: View, rows: readonly Row[], at: number): Source | undefined {
  const alive = newest(rows).filter(
    ({ time, values }) => values !== null && (view.ttlMs === 0 || time >= at - view.ttlMs),
  );
  if (alive.length === 0) return undefined;
  const keyed = alive.map((row) => ({ row, key: keysOf(view, row) })).sort((a, b) => compareKeys(a.key, b.key));
  const fields: { name: string; type: FieldType }[] = [
    ...view.joinKeys.map(({ name, type }) => ({ name, type: keyType(type) })),
    { name: view.timestamp, type: 'timestamp' },
    ...view.fields.map((field) => ({ name: field.name, type: featureType(field) })),
  ];
  const columns: Cell[][] = [
    ...view.joinKeys.map((_, i) => keyed.map(({ key }) => key[i])),
    keyed.map(({ row }) => row.time),
    ...view.fields.map((field, i) => keyed.map(({ row }) => featureCell(field, row.values?.[i] ?? null))),
  ];
  return sourceOf({ fields }, { rows: keyed.length, columns });
}

const keyType = (type: EntityType): FieldType => (type === 'string' ? 'string' : 'integer');

type Key = string | number | bigint;

/** The row's keys, as their types are: they are stored as texts. */
function keysOf({ joinKeys }: View, { key }: Row): Key[] {
  const texts = joinKeys.length === 1 ? [key] : (JSON.parse(key) as string[]);
  return texts.map((text, i) => {
    if (joinKeys[i].type === 'string') return text;
    const number = Number(text);
    return Number.isSafeInteger(number) ? number : BigInt(text);
  });
}

function compareKeys(a: readonly Key[], b: readonly Key[]): number {
  for (let i = 0; i < a.length; i++) {
    if (a[i] < b[i]) return -1;
    if (a[i] > b[i]) return 1;
  }
  return 0;
}
