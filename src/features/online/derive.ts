import { invalidArgument } from '../../shared/errors.ts';
import type { AskedFeatures } from '../documents/ask.ts';
import type { Columns } from '../documents/catalog.ts';
import type { Derived, OnDemandView, Operand } from '../documents/on-demand.ts';
import { type FeatureValue, readFeature } from '../documents/values.ts';
import { applyTransform, numberOf } from '../transforms/apply.ts';
import type { EntityColumns } from './read.ts';

/** A stored value by row of the request; null: there is none, or only what is too old. */
type StoredCells = (operand: Extract<Operand, { view: object }>) => (row: number) => FeatureValue;

export const isOnDemand = (view: Columns): view is OnDemandView => 'derived' in view;

/** Throws invalid_argument where a request lacks what the on-demand views take of it. */
export function checkRequestData({ asked }: AskedFeatures, entities: EntityColumns): void {
  for (const { view, fields } of asked) {
    if (!isOnDemand(view)) continue;
    const needed = fields.flatMap((field) => view.derived[field].operands);
    const missing = needed.flatMap((one) => ('request' in one && !entities.has(one.request) ? [one.request] : []));
    if (missing.length === 0) continue;
    const all = view.request.map(({ name, type }) => `${name} (${type})`).join(', ');
    throw invalidArgument(
      `entities: on-demand feature view ${view.name} needs the request data ${[...new Set(missing)].join(', ')}, which is not given; it takes ${all}`,
    );
  }
}

/** Values of one feature of an on-demand view, one for each row. Throws invalid_argument naming row and value. */
export function derive(
  view: OnDemandView,
  field: number,
  entities: EntityColumns,
  rows: number,
  stored: StoredCells,
): FeatureValue[] {
  const { operands, how } = view.derived[field];
  const { length } = view.fields[field];
  const cells = operands.map((operand): ((row: number) => FeatureValue) => {
    if ('view' in operand) return stored(operand);
    const { request, type } = operand;
    const column = entities.get(request);
    return (row) => readFeature(type, 0, column?.[row], `entities, row ${row}: ${request}`);
  });
  return Array.from({ length: rows }, (_, row) => {
    const values = cells.map((cell) => cell(row));
    if ('arithmetic' in how) return computed(how.arithmetic, values, view.names[field]);
    const out: number[] = [];
    applyTransform([how.step], () => values[0], out, 0);
    return length === 0 ? out[0] : out;
  });
}

function computed(
  arithmetic: Extract<Derived['how'], { arithmetic: unknown }>['arithmetic'],
  values: readonly FeatureValue[],
  name: string,
): FeatureValue {
  if (values.includes(null)) return null;
  const [first, ...rest] = values.map((value) => numberOf(value, name));
  switch (arithmetic) {
    case 'sum':
      return rest.reduce((a, b) => a + b, first);
    case 'product':
      return rest.reduce((a, b) => a * b, first);
    case 'difference':
      return first - rest[0];
    case 'ratio':
      return rest[0] === 0 ? null : first / rest[0];
  }
}
