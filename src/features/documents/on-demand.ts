import type { FittedStep } from '../transforms/spec.ts';
import type { Columns, Field, View } from './catalog.ts';
import type { OnDemandDocument, OnDemandFeature } from './on-demand-schema.ts';
import type { FeatureType } from './values.ts';

type Arithmetic = 'sum' | 'product' | 'difference' | 'ratio';

/** What a value is computed of: a value of the request, or a view's feature. */
export type Operand = { request: string; type: FeatureType } | { view: View; field: number };

export interface Derived {
  operands: readonly Operand[];
  how: { step: FittedStep } | { arithmetic: Arithmetic };
}

/** An on-demand feature view as reading needs it. */
export interface OnDemandView extends Columns {
  request: readonly { name: string; type: FeatureType }[];
  /** One for each field. */
  derived: readonly Derived[];
}

interface Problem {
  path: PropertyKey[];
  message: string;
}

/** The view, or what is wrong with it among the others. */
export function compileOnDemand(
  { spec, metadata }: OnDemandDocument,
  views: ReadonlyMap<string, View>,
): { view: OnDemandView; problems: Problem[] } {
  const problems: Problem[] = [];
  const request = new Map(spec.request.map(({ name, type }) => [name, type]));
  const operandOf = (text: string, path: PropertyKey[]): Operand[] => {
    const type = request.get(text);
    if (type !== undefined) return [{ request: text, type }];
    const colon = text.indexOf(':');
    const view = views.get(text.slice(0, Math.max(0, colon)));
    const field = view?.index.get(text.slice(colon + 1));
    if (view !== undefined && field !== undefined && view.fields[field].length === 0) return [{ view, field }];
    const there = [...request.keys(), ...[...views.keys()].map((name) => `${name}:…`)].join(', ') || 'none';
    const message =
      view === undefined
        ? `${text} is neither request data nor of the form "view:feature"; there are ${there}`
        : field === undefined
          ? `FeatureView ${view.name} has no feature ${text.slice(colon + 1)}; it has ${view.names.join(', ')}`
          : `${text} is a vector, and steps take single values`;
    problems.push({ path, message });
    return [];
  };
  const derived = spec.features.map((feature, i): Derived => {
    const list = Array.isArray(feature.of) ? feature.of : [feature.of];
    const operands = list.flatMap((text, j) =>
      operandOf(text, ['spec', 'features', i, 'of', ...(Array.isArray(feature.of) ? [j] : [])]),
    );
    return { operands, how: howOf(feature) };
  });
  if (views.has(metadata.name))
    problems.push({ path: ['metadata', 'name'], message: `there is a FeatureView ${metadata.name}, too` });
  const names = spec.features.map(({ name }) => name);
  const fields = spec.features.map(fieldOf);
  const index = new Map(names.map((name, i) => [name, i]));
  return {
    view: { name: metadata.name, names, fields, index, ttlMs: 0, request: spec.request, derived },
    problems,
  };
}

function howOf(feature: OnDemandFeature): Derived['how'] {
  switch (feature.kind) {
    case 'sum':
    case 'product':
    case 'difference':
    case 'ratio':
      return { arithmetic: feature.kind };
    default: {
      const { name: _, description: __, of, ...step } = feature;
      return { step: { feature: of, ...step } };
    }
  }
}

function fieldOf(feature: OnDemandFeature): Field {
  const { name, kind } = feature;
  const whole = kind === 'ordinal' || kind === 'hash' || kind === 'bucketise';
  const length = kind === 'oneHot' ? feature.values.length : 0;
  return { name, type: whole ? 'int64' : 'float64', length, default: 0 };
}
