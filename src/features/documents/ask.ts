import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Columns, FeatureSet, Selection, View } from './catalog.ts';
import type { OnDemandView } from './on-demand.ts';

/** Features of one view that were asked for, on-demand or not. */
export interface Asked {
  view: Columns;
  fields: readonly number[];
}

export interface AskedFeatures {
  /** In the order of first mention. */
  asked: readonly Asked[];
  /** What is to be read for them. */
  selections: readonly Selection[];
}

/** As selectRefs, with features of on-demand views among them. Throws. */
export function askRefs(set: FeatureSet, refs: readonly string[]): AskedFeatures {
  if (refs.length === 0) throw invalidArgument('No features specified for retrieval');
  const asked = new Map<Columns, number[]>();
  const read = new Map<View, number[]>();
  const add = <T>(map: Map<T, number[]>, view: T, field: number, twice: boolean): void => {
    const fields = map.get(view);
    if (fields === undefined) map.set(view, [field]);
    else if (twice || !fields.includes(field)) fields.push(field);
  };
  for (const ref of refs) {
    const colon = ref.indexOf(':');
    if (colon <= 0)
      throw invalidArgument(`features: ${JSON.stringify(ref.slice(0, 100))} is not of the form "view:feature"`);
    const name = ref.slice(0, colon);
    const stored = set.views.get(name);
    const view: View | OnDemandView | undefined = stored ?? set.onDemand.get(name);
    if (view === undefined) throw unknownView(set, name);
    const field = view.index.get(ref.slice(colon + 1));
    if (field === undefined)
      throw invalidArgument(
        `feature view ${view.name} has no feature ${JSON.stringify(ref.slice(colon + 1, colon + 101))}; it has ${view.names.slice(0, 50).join(', ')}`,
      );
    add(asked, view, field, true);
    if (stored !== undefined) add(read, stored, field, false);
    else
      for (const operand of (view as OnDemandView).derived[field].operands)
        if ('view' in operand) add(read, operand.view, operand.field, false);
  }
  return {
    asked: [...asked].map(([view, fields]) => ({ view, fields })),
    selections: [...read].map(([view, fields]) => ({ view, fields })),
  };
}

/** Throws not_found. */
export function askService(set: FeatureSet, name: string): AskedFeatures {
  const service = set.services.get(name);
  if (service === undefined)
    throw new SwitchyardError(
      'not_found',
      `Feature service ${JSON.stringify(name.slice(0, 100))} does not exist; there are ${[...set.services.keys()].slice(0, 20).join(', ') || 'none'}`,
    );
  const refs = service.spec.features.flatMap(({ view, features }) =>
    (features ?? (set.views.get(view) ?? set.onDemand.get(view))?.names ?? []).map((feature) => `${view}:${feature}`),
  );
  return askRefs(set, refs);
}

function unknownView({ views, onDemand }: FeatureSet, name: string): SwitchyardError {
  const list = (names: Iterable<string>): string => [...names].slice(0, 20).join(', ') || 'none';
  return new SwitchyardError(
    'not_found',
    `Feature view ${JSON.stringify(name.slice(0, 100))} does not exist; there are ${list(views.keys())}, and computed on demand ${list(onDemand.keys())}. Python of Feast's on_demand_feature_view is not run here: declare an OnDemandFeatureView with built-in transforms`,
  );
}
