import { invalidArgument } from '../../shared/errors.ts';
import { type Cell, columnOf, type Table } from '../tables/table.ts';
import { type Features, permutationImportance, shapleyValues } from './attribution.ts';
import {
  classificationMetrics,
  confusionMatrix,
  METRIC_DIRECTIONS,
  type Metrics,
  regressionMetrics,
} from './metrics.ts';
import { OnnxModel, type Output } from './onnx-model.ts';
import type { EvaluationResult } from './result.ts';
import { sliceRows } from './slices.ts';
import type { EvaluationSpec } from './spec.ts';

type Scalar = string | number | boolean;

/** The model's answers in the form that metrics read, for these rows. */
interface Answers {
  predicted: number[];
  probabilities?: number[];
}

/** What stays the same over all questions to one model. */
interface Setting {
  task: EvaluationSpec['task'];
  classes: Scalar[];
  truth: number[];
  ask(features: Features): Promise<Answers>;
}

/** Evaluates an ONNX model on a dataset. Throws SwitchyardError for what does not fit together. */
export async function evaluateModel(modelFile: string, table: Table, spec: EvaluationSpec): Promise<EvaluationResult> {
  if (table.rows === 0) throw invalidArgument('the dataset is empty; evaluation needs at least one row');
  const names =
    spec.features ??
    table.columns.map(({ name }) => name).filter((name) => name !== spec.label && !spec.sliceOnly.includes(name));
  columnOf(table, spec.label);
  const features = names.map((name) => columnOf(table, name).values);
  const model = await OnnxModel.load(modelFile, names, spec.inputs, spec.batchSize);
  const setting = spec.task === 'regression' ? regression(model, table, spec) : classification(model, table, spec);
  const answers = await setting.ask(features);
  const slices = sliceRows(table, spec.slices).map(({ name, rows }) => ({
    name,
    samples: rows.length,
    metrics: metricsOf(setting, answers, rows),
  }));
  const metrics = metricsOf(setting, answers);
  const attribution =
    spec.attribution === undefined ? {} : { attribution: await attribute(setting, features, names, spec) };
  const { classes, truth } = setting;
  const confusion =
    spec.task === 'classification'
      ? { classes, confusion: confusionMatrix({ truth, predicted: answers.predicted, classes: classes.length }) }
      : {};
  return { task: spec.task, samples: table.rows, metrics, slices, ...confusion, ...attribution };
}

function metricsOf({ task, truth, classes }: Setting, answers: Answers, rows?: readonly number[]): Metrics {
  const pick = (values: readonly number[]): readonly number[] =>
    rows === undefined ? values : rows.map((row) => values[row]);
  const predicted = pick(answers.predicted);
  if (task === 'regression') return regressionMetrics({ truth: pick(truth), predicted });
  const k = classes.length;
  const { probabilities: all } = answers;
  const probabilities =
    all === undefined || rows === undefined ? all : rows.flatMap((row) => all.slice(row * k, (row + 1) * k));
  return classificationMetrics({ truth: pick(truth), predicted, probabilities, classes: k });
}

function regression(model: OnnxModel, table: Table, spec: EvaluationSpec): Setting {
  const output =
    spec.prediction ??
    findOutput(model, 'prediction', ({ type, width }) => type.startsWith('float') && width !== undefined && width <= 1);
  const truth = columnOf(table, spec.label).values.map((value, row) => {
    if (typeof value === 'number') return value;
    throw invalidArgument(`row ${row + 1}: the label is ${JSON.stringify(value)}; regression needs a number`);
  });
  return {
    task: 'regression',
    classes: [],
    truth,
    ask: async (features) => {
      const found = (await model.run(features, [output])).get(output) as Output;
      if (found.width !== 1 || found.type === 'string')
        throw invalidArgument(
          `output ${output} gives ${found.width} values of type ${found.type} per row; name one number with prediction`,
        );
      return { predicted: Array.from(found.values as ArrayLike<number>) };
    },
  };
}

function classification(model: OnnxModel, table: Table, spec: EvaluationSpec): Setting {
  const labels = columnOf(table, spec.label).values;
  const classes: Scalar[] = spec.classes ?? distinct(labels);
  if (classes.length < 2)
    throw invalidArgument(
      `the label ${spec.label} has the one value ${JSON.stringify(classes[0])}; name all classes with classes`,
    );
  const numbers = new Map(classes.map((value, i) => [String(value), i]));
  const truth = labels.map((value, row) => {
    const found = numbers.get(String(value));
    if (found !== undefined && value !== null) return found;
    throw invalidArgument(
      `row ${row + 1}: the label ${JSON.stringify(value)} is none of the classes ${classes.join(', ')}`,
    );
  });
  const k = classes.length;
  const probabilities =
    spec.probabilities ?? model.outputs.find(({ type, width }) => type.startsWith('float') && width === k)?.name;
  const prediction =
    spec.prediction ?? model.outputs.find(({ type }) => type.startsWith('int') || type === 'string')?.name;
  const wanted = [prediction, probabilities].filter((name) => name !== undefined);
  if (wanted.length === 0) findOutput(model, 'probabilities', () => false);
  return {
    task: 'classification',
    classes,
    truth,
    ask: async (features) => {
      const found = await model.run(features, wanted);
      const given =
        probabilities === undefined ? undefined : probabilitiesOf(found.get(probabilities) as Output, probabilities, k);
      const predicted =
        prediction === undefined
          ? largest(given as number[], k)
          : classesOf(found.get(prediction) as Output, prediction, numbers);
      return given === undefined ? { predicted } : { predicted, probabilities: given };
    },
  };
}

function findOutput(model: OnnxModel, field: string, fits: (output: OnnxModel['outputs'][number]) => boolean): string {
  const found = model.outputs.find(fits);
  if (found !== undefined) return found.name;
  const known = model.outputs.map(
    ({ name, type, width }) => `${name} (${type}${width === undefined ? '' : `, ${width} a row`})`,
  );
  const maps = model.outputs.some(({ type }) => type === 'sequence')
    ? '; convert with the option zipmap=False, so that probabilities are a tensor'
    : '';
  throw invalidArgument(
    `none of the model's outputs is plainly its ${field}: name one of ${known.join(', ')} with ${field}${maps}`,
  );
}

function distinct(values: readonly Cell[]): Scalar[] {
  const found = [...new Set(values)].filter((value) => value !== null);
  return found.every((value) => typeof value === 'number')
    ? found.sort((a, b) => a - b)
    : found.sort((a, b) => (String(a) < String(b) ? -1 : 1));
}

/** One output of `k` probabilities a row; a single one is that of the second of two classes. */
function probabilitiesOf({ values, width, type }: Output, name: string, k: number): number[] {
  if (type !== 'string' && width === k) return Array.from(values as ArrayLike<number>);
  if (type !== 'string' && width === 1 && k === 2)
    return Array.from(values as ArrayLike<number>).flatMap((p) => [1 - p, p]);
  throw invalidArgument(
    `output ${name} gives ${width} values of type ${type} per row for ${k} classes; name the probabilities, or all classes`,
  );
}

function classesOf({ values, width, type }: Output, name: string, numbers: ReadonlyMap<string, number>): number[] {
  if (width !== 1)
    throw invalidArgument(`output ${name} gives ${width} values per row; name the one with the label with prediction`);
  return Array.from(values as ArrayLike<string | number>, (value) => {
    const text = type === 'bool' ? String(value === 1) : String(value);
    const found = numbers.get(text);
    if (found !== undefined) return found;
    throw invalidArgument(
      `the model answered the class ${JSON.stringify(text)}, which is none of ${[...numbers.keys()].join(', ')}; name all classes with classes`,
    );
  });
}

function largest(probabilities: readonly number[], k: number): number[] {
  return Array.from({ length: probabilities.length / k }, (_, row) => {
    let best = 0;
    for (let j = 1; j < k; j++) if (probabilities[row * k + j] > probabilities[row * k + best]) best = j;
    return best;
  });
}

async function attribute(
  setting: Setting,
  features: Features,
  names: readonly string[],
  spec: EvaluationSpec,
): Promise<NonNullable<EvaluationResult['attribution']>> {
  const {
    method,
    repeats,
    rows,
    samples,
    seed,
    metric = setting.task === 'regression' ? 'r2' : 'accuracy',
  } = spec.attribution!;
  if (method === 'permutation') {
    const sign = METRIC_DIRECTIONS[metric] === 'lower' ? -1 : 1;
    const score = async (changed: Features): Promise<number> => {
      const value = metricsOf(setting, await setting.ask(changed))[metric];
      if (value !== undefined) return sign * value;
      throw invalidArgument(
        `attribution: ${metric} is no metric of these answers; there are ${Object.keys(METRIC_DIRECTIONS).join(', ')}`,
      );
    };
    return { method, metric, features: await permutationImportance(features, names, score, { repeats, seed }) };
  }
  const explain = explainedValue(setting, await setting.ask(features));
  const { attributions } = await shapleyValues(features, names, explain, { rows, samples, seed });
  return { method, features: attributions };
}

/** What Shapley values explain: the prediction, or the probability of the class that the model gave the row. */
function explainedValue(setting: Setting, answers: Answers) {
  return async (features: Features, explained: readonly number[]): Promise<ArrayLike<number>> => {
    const { predicted, probabilities } = await setting.ask(features);
    if (setting.task === 'regression') return predicted;
    const k = setting.classes.length;
    return explained.map((row, i) =>
      probabilities === undefined
        ? Number(predicted[i] === answers.predicted[row])
        : probabilities[i * k + answers.predicted[row]],
    );
  };
}
