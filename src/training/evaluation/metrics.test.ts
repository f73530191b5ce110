import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../tables/random.ts';
import { type Features, permutationImportance, shapleyValues } from './attribution.ts';
import { classificationMetrics, confusionMatrix, regressionMetrics } from './metrics.ts';

const near = (actual: number, wanted: number, within = 1e-9) =>
  assert.ok(Math.abs(actual - wanted) <= within, `${actual} is not ${wanted}`);

test('metrics of a small example are what they are on paper', () => {
  const given = {
    truth: [0, 0, 1, 1],
    predicted: [0, 1, 1, 1],
    probabilities: [0.9, 0.1, 0.4, 0.6, 0.35, 0.65, 0.2, 0.8],
    classes: 2,
  };
  const metrics = classificationMetrics(given);
  near(metrics.accuracy, 0.75);
  near(metrics.precision, 2 / 3);
  near(metrics.recall, 1);
  near(metrics.f1, 0.8);
  near(metrics.auc, 1);
  near(metrics.brier, (0.01 + 0.36 + 0.1225 + 0.04) / 4);
  near(metrics.logLoss, -(Math.log(0.9) + Math.log(0.4) + Math.log(0.65) + Math.log(0.8)) / 4);
  assert.deepEqual(confusionMatrix(given), [
    [1, 1],
    [0, 2],
  ]);
  const errors = regressionMetrics({ truth: [1, 2, 4], predicted: [1, 3, 2] });
  near(errors.mae, 1);
  near(errors.mse, 5 / 3);
  near(errors.medianAbsoluteError, 1);
  near(errors.r2, 1 - 5 / (16 / 9 + 1 / 9 + 25 / 9));
});

test('figures that the samples do not define are left out', () => {
  const one = classificationMetrics({
    truth: [1, 1],
    predicted: [1, 1],
    probabilities: [0.1, 0.9, 0.2, 0.8],
    classes: 2,
  });
  assert.equal(Object.hasOwn(one, 'auc'), false);
  assert.equal(Object.hasOwn(regressionMetrics({ truth: [3, 3], predicted: [3, 4] }), 'r2'), false);
  assert.deepEqual(classificationMetrics({ truth: [], predicted: [], classes: 3 }), {});
});

/** y = 3a + b, and c says nothing. */
const random = seededRandom(5);
const columns: Features = [0, 1, 2].map(() => Array.from({ length: 300 }, () => random()));
const names = ['a', 'b', 'c'];
const linear = (features: Features) =>
  Array.from({ length: features[0].length }, (_, i) => 3 * (features[0][i] as number) + (features[1][i] as number));

test('permutation importance orders features by what they say, within intervals', async () => {
  const truth = linear(columns);
  const score = async (features: Features) => -regressionMetrics({ truth, predicted: linear(features) }).mse;
  const found = await permutationImportance(columns, names, score, { repeats: 20, seed: 1 });
  // The mean squared error rises by twice the variance of what the feature adds: 2 · 9/12 and 2 · 1/12.
  const [a, b, c] = found;
  near(a.mean, 1.5, 0.15);
  near(b.mean, 1 / 6, 0.03);
  assert.equal(c.mean, 0);
  assert.ok(a.low <= a.mean && a.mean <= a.high && a.low > b.high);
});

test('Shapley values of a linear model are its terms around their means', async () => {
  const { values, rows, attributions } = await shapleyValues(columns, names, async (features) => linear(features), {
    rows: 20,
    samples: 2000,
    seed: 3,
  });
  const mean = (j: number) => (columns[j] as number[]).reduce((x, y) => x + y, 0) / 300;
  rows.forEach((row, i) => {
    near(values[i][0], 3 * ((columns[0][row] as number) - mean(0)), 0.1);
    near(values[i][1], (columns[1][row] as number) - mean(1), 0.05);
    near(values[i][2], 0);
  });
  assert.ok(attributions[0].mean > attributions[1].mean && attributions[2].mean === 0);
  assert.ok((attributions[0].signed?.low ?? 1) < (attributions[0].signed?.high ?? 0));
});
