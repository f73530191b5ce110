import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { FeatureStore, TransformRow } from '../documents/store.ts';
import type { FeatureColumn } from '../offline/historical.ts';
import { applyTransform, transformColumns } from './apply.ts';
import { fitTransform, transformDigest } from './fit.ts';
import { type FittedTransform, readFitted, type TransformSpec } from './spec.ts';

export interface FittedView {
  name: string;
  version: number;
  digest: string;
  columns: string[];
  state: FittedTransform;
  actor: string;
  created_at: number;
}

/** What a transform makes of historical rows. */
export interface TransformedRows {
  name: string;
  digest: string;
  columns: string[];
  rows: number[][];
}

/** Every version of every fitted transform, as the database held them when they were last read. */
export class FittedTransforms {
  private fitted: ReadonlyMap<string, FittedTransform> = new Map();

  /** By name@version; another map after each reading. */
  get all(): ReadonlyMap<string, FittedTransform> {
    return this.fitted;
  }

  async read(store: FeatureStore): Promise<void> {
    const rows = await store.transforms();
    this.fitted = new Map(rows.map(({ name, version, state }) => [`${name}@${version}`, readFitted(state)]));
  }

  /** As the next version of a name. */
  async keep(store: FeatureStore, name: string, fitted: FittedTransform, actor: string): Promise<FittedView> {
    const digest = transformDigest(fitted);
    const row = await store.putTransform({ name, kind: 'columns', state: JSON.stringify(fitted), digest, actor });
    await this.read(store);
    return fittedView(row);
  }

  /** Throws not_found, or invalid_argument when it takes a feature that is not among the columns. @param name name@version */
  apply(name: string, columns: readonly FeatureColumn[], rows: number): TransformedRows {
    const fitted = this.fitted.get(name);
    if (fitted === undefined) throw new SwitchyardError('not_found', `there is no transform ${name}`);
    const sources = fitted.map(({ feature }) => columnOf(columns, feature));
    const made = Array.from({ length: rows }, (_, row) => {
      const out: number[] = [];
      applyTransform(fitted, (step) => sources[step].values[row], out, 0);
      return out;
    });
    return { name, digest: transformDigest(fitted), columns: transformColumns(fitted), rows: made };
  }
}

/** Throws invalid_argument. */
export function checkTransformName(name: string): void {
  if (!/^[A-Za-z_][\w-]{0,62}$/.test(name))
    throw invalidArgument('name: a letter or "_", then letters, digits, "_" and "-"');
}

/** Throws invalid_argument when it takes a feature that is not among the columns, or that it cannot learn from. */
export function fitColumns(spec: TransformSpec, columns: readonly FeatureColumn[]): FittedTransform {
  return fitTransform(spec, (feature) => columnOf(columns, feature).values);
}

export function fittedView({ state, name, version, digest, actor, created_at }: TransformRow): FittedView {
  const fitted = readFitted(state);
  return { name, version, digest, columns: transformColumns(fitted), state: fitted, actor, created_at };
}

/** Throws invalid_argument naming what there is. */
function columnOf(columns: readonly FeatureColumn[], feature: string): FeatureColumn {
  const found = columns.find(({ view, name }) => name === feature || `${view.name}:${name}` === feature);
  if (found !== undefined) return found;
  const there = columns.map(({ view, name }) => `${view.name}:${name}`).join(', ');
  throw invalidArgument(`the transform takes the feature ${feature}, which was not asked for; there are ${there}`);
}
