import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Table } from '../tables/table.ts';
import { compareEvaluations } from './compare.ts';
import { evaluateModel } from './evaluate.ts';
import { type EvaluationSpec, evaluationSpec } from './spec.ts';
import type { Evaluation } from './store.ts';

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
/** Answers its four numbers. */
const IDENTITY = file('src/testing/fixtures/identity_fp32/1/model.onnx');
const DIGITS = file('config/models/digits/1/model.onnx');

const spec = (given: object): EvaluationSpec => evaluationSpec.parse({ label: 'y', task: 'classification', ...given });
const table = (columns: Record<string, (number | string)[]>): Table => ({
  rows: Object.values(columns)[0].length,
  columns: Object.entries(columns).map(([name, values]) => ({
    name,
    type: typeof values[0] === 'number' ? 'number' : 'string',
    values,
  })),
});

test('probabilities make labels, classes keep their order, and slices their rows', async () => {
  const given = table({
    a: [0.7, 0.1, 0.2],
    b: [0.1, 0.6, 0.2],
    c: [0.1, 0.2, 0.5],
    d: [0.1, 0.1, 0.1],
    y: ['low', 'mid', 'high'],
    region: ['n', 's', 's'],
  });
  const classes = ['low', 'mid', 'high', 'none'];
  const found = await evaluateModel(
    IDENTITY,
    given,
    spec({
      classes,
      sliceOnly: ['region'],
      slices: [{ column: 'region' }, { where: { region: 's', y: 'mid' } }],
      batchSize: 2,
    }),
  );
  assert.equal(found.metrics.accuracy, 1);
  assert.ok(Math.abs(found.metrics.logLoss + (Math.log(0.7) + Math.log(0.6) + Math.log(0.5)) / 3) < 1e-6);
  assert.deepEqual(
    found.slices.map(({ name, samples }) => [name, samples]),
    [
      ['region=n', 1],
      ['region=s', 2],
      ['region=s,y=mid', 1],
    ],
  );
  assert.deepEqual(found.classes, classes);
});

test('what does not fit is said with what is there and the next step', async () => {
  const given = table({ a: [1], b: [2], c: [3], d: [4], y: [0] });
  const fails = (changes: object, wanted: RegExp, rows = given) =>
    assert.rejects(evaluateModel(IDENTITY, rows, spec(changes)), wanted);
  await fails({ label: 'z' }, /no column "z"; the dataset has a, b, c, d, y/);
  await fails({}, /the label y has the one value 0; name all classes/);
  await fails(
    { classes: [0, 1] },
    /none of the model's outputs is plainly its probabilities: name one of OUTPUT \(float32/,
  );
  await fails({ classes: [1, 2], probabilities: 'OUTPUT' }, /row 1: the label 0 is none of the classes 1, 2/);
  await fails({ classes: [0, 1], probabilities: 'OUTPUT' }, /gives 4 values of type float32 per row for 2 classes/);
  await fails({ classes: [0, 1], inputs: { OTHER: ['a'] } }, /gets 0 columns/);
  await fails({ task: 'regression', prediction: 'OUTPUT' }, /gives 4 values of type float32 per row; name one number/);
  await fails({}, /the dataset is empty/, table({ a: [], y: [] }));
  await assert.rejects(evaluateModel(file('README.md'), given, spec({})), /cannot be loaded by ONNX Runtime/);
});

test('a real model is explained: a pixel that is always blank says nothing', async () => {
  const pixels = Array.from(
    { length: 64 },
    (_, i) => [`p${i}`, Array.from({ length: 30 }, (_, row) => (i === 0 ? 0 : (i * 7 + row * 13) % 17))] as const,
  );
  const given = table({ ...Object.fromEntries(pixels), y: Array.from({ length: 30 }, (_, row) => row % 10) });
  const { attribution } = await evaluateModel(DIGITS, given, spec({ attribution: { metric: 'logLoss', repeats: 2 } }));
  assert.equal(attribution?.features[0].feature, 'p0');
  assert.equal(attribution?.features[0].mean, 0);
  assert.ok(attribution?.features.some(({ mean }) => mean !== 0));
  await assert.rejects(
    evaluateModel(DIGITS, given, spec({ attribution: { metric: 'rmse' } })),
    /rmse is no metric of these answers/,
  );
});

test('versions are put side by side only on the same data', () => {
  const evaluation = (
    version: string,
    dataset_digest: string,
    accuracy: number,
    logLoss: number,
    key: number,
  ): Evaluation => ({
    key,
    id: `e${key}`,
    model: 'm',
    version,
    model_digest: '',
    dataset_digest,
    dataset_name: dataset_digest,
    spec_digest: '',
    spec: {},
    result: {
      task: 'classification',
      samples: 10,
      metrics: { accuracy, logLoss },
      slices: [{ name: 's', samples: 3, metrics: { accuracy } }],
    },
    pipeline_run: '',
    step: '',
    tracking_run: '',
    created_at: key,
  });
  const found = [
    evaluation('3', 'other', 1, 0, 4),
    evaluation('2', 'same', 0.9, 0.3, 3),
    evaluation('1', 'same', 0.8, 0.2, 2),
    evaluation('1', 'same', 0.1, 9, 1),
  ];
  const compared = compareEvaluations('m', ['1', '2', '3'], found);
  assert.deepEqual(
    compared.versions.map(({ evaluation: id }) => id),
    ['e2', 'e3'],
  );
  assert.deepEqual(compared.missing, ['3']);
  assert.deepEqual(
    compared.metrics.map(({ metric, slice, best }) => [metric, slice, best]),
    [
      ['accuracy', null, '2'],
      ['logLoss', null, '1'],
      ['accuracy', 's', '2'],
    ],
  );
  assert.equal(compareEvaluations('m', [], []).dataset, null);
});
