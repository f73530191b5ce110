import type { FeatureJoin } from '../../config/feature-join.ts';
import type { ModelConfig, TensorSpec } from '../../config/model-config.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { type FeatureSet, type Selection, selectRefs, type View } from '../documents/catalog.ts';
import type { Scalar } from '../documents/values.ts';
import { transformWidth } from '../transforms/apply.ts';
import type { FittedTransform } from '../transforms/spec.ts';
import { canFill } from './elements.ts';

/** Where a feature's value goes. */
export interface Target {
  feature: string;
  /** Position in the plan's inputs, and the first column there. */
  input: number;
  column: number;
  /** What stands in for a value that is not there. */
  fallback: Scalar | Scalar[];
}

export interface PlannedInput {
  spec: TensorSpec;
  width: number;
  /** Makes the columns; its step i takes the input's feature `steps[i]`. */
  transform?: { fitted: FittedTransform; steps: readonly number[]; features: number };
}

/** Fitted transforms by name@version. */
export type Transforms = ReadonlyMap<string, FittedTransform>;

/** How the inputs of a model come from the feature store; fits one set of documents. */
export interface JoinPlan {
  join: FeatureJoin;
  selections: readonly Selection[];
  /** By selection, then field: where it goes. A feature may go to several inputs. */
  targets: readonly (readonly (readonly Target[])[])[];
  inputs: readonly PlannedInput[];
  /** Join key → input of the request. */
  entities: readonly (readonly [string, string])[];
  /** Inputs of requests that the model itself does not take. */
  dropped: ReadonlySet<string>;
  /** The model has a batch dimension. */
  batched: boolean;
}

/** Throws failed_precondition saying what of the configuration does not fit the feature views there are. */
export function planJoin(config: ModelConfig, join: FeatureJoin, set: FeatureSet, transforms: Transforms): JoinPlan {
  const { signature, name } = config;
  const wrong = (problem: string): SwitchyardError =>
    new SwitchyardError('failed_precondition', `model '${name}' cannot get its features: ${problem}`);
  const names = Object.keys(join.inputs);
  const refs = [...new Set(Object.values(join.inputs).flatMap(({ features }) => features))];
  let selections: Selection[];
  try {
    selections = selectRefs(set, refs);
  } catch (error) {
    throw wrong((error as Error).message);
  }
  for (const { view } of selections)
    for (const { name: key } of view.joinKeys)
      if (!Object.hasOwn(join.entities, key)) throw wrong(`feature view ${view.name} needs the join key ${key}`);
  const targets = selections.map(({ fields }) => fields.map((): Target[] => []));
  const place = new Map<string, Target[]>();
  for (const [i, { view, fields }] of selections.entries())
    for (const [j, field] of fields.entries()) place.set(`${view.name}:${view.names[field]}`, targets[i][j]);
  const inputs = names.map((inputName, input): PlannedInput => {
    const spec = signature.inputs.find((each) => each.name === inputName);
    if (spec === undefined)
      throw wrong(`it has no input '${inputName}'; it has ${signature.inputs.map((each) => each.name).join(', ')}`);
    if (!canFill(spec.datatype))
      throw wrong(`input '${inputName}' is of type ${spec.datatype}, which features cannot fill`);
    const { features, transform: name } = join.inputs[inputName];
    const fitted = name === undefined ? undefined : transforms.get(name);
    if (name !== undefined && fitted === undefined)
      throw wrong(
        `there is no transform ${name}; there are ${[...transforms.keys()].slice(0, 20).join(', ') || 'none'}`,
      );
    let width = 0;
    for (const [position, feature] of features.entries()) {
      const [viewName, fieldName] = feature.split(':');
      const view = set.views.get(viewName) as View;
      const field = view.fields[view.index.get(fieldName) as number];
      const texts = fitted === undefined ? field.type === 'string' : false;
      if (texts !== (spec.datatype === 'BYTES'))
        throw wrong(`feature ${feature} is of type ${field.type}, and input '${inputName}' of ${spec.datatype}`);
      if (fitted !== undefined && field.length > 0)
        throw wrong(`feature ${feature} is a vector, which no transform takes`);
      const fallback = field.length === 0 ? field.default : new Array<Scalar>(field.length).fill(field.default);
      place.get(feature)?.push({ feature, input, column: fitted === undefined ? width : position, fallback });
      width += Math.max(1, field.length);
    }
    const planned: PlannedInput = { spec, width };
    if (fitted !== undefined) {
      planned.width = transformWidth(fitted);
      const steps = fitted.map(({ feature }) =>
        features.findIndex((ref) => ref === feature || ref.slice(ref.indexOf(':') + 1) === feature),
      );
      const missing = steps.indexOf(-1);
      if (missing >= 0)
        throw wrong(`transform ${name} takes the feature ${fitted[missing].feature}, which is not among the input's`);
      planned.transform = { fitted, steps, features: features.length };
    }
    const rank = spec.dims.length + (signature.maxBatchSize > 0 ? 1 : 0);
    const last = spec.dims[spec.dims.length - 1];
    if (rank < 1 || rank > 2 || (rank === 2 && last !== -1 && last !== planned.width))
      throw wrong(
        `its features make ${planned.width} columns, and input '${inputName}' has dims [${spec.dims.join(',')}]`,
      );
    return planned;
  });
  return {
    join,
    selections,
    targets,
    inputs,
    entities: Object.entries(join.entities),
    dropped: new Set(
      Object.values(join.entities).filter((input) => !signature.inputs.some((each) => each.name === input)),
    ),
    batched: signature.maxBatchSize > 0,
  };
}
