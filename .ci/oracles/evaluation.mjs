/** As answer.mjs, for what evaluations compute. Run with: node --import tsx .ci/oracles/evaluation.mjs */
import { readFileSync } from 'node:fs';
import { permutationImportance, shapleyValues } from '../../src/training/evaluation/attribution.ts';
import { classificationMetrics, regressionMetrics } from '../../src/training/evaluation/metrics.ts';

const rowsOf = (columns) => Array.from({ length: columns[0].length }, (_, i) => columns.map((column) => column[i]));

/** Importances of a linear model, scored by r2. */
function linearImportance({ columns, truth, weights, bias, repeats, seed }) {
  const predict = (features) => rowsOf(features).map((row) => row.reduce((sum, value, j) => sum + value * weights[j], bias));
  const score = async (features) => regressionMetrics({ truth, predicted: predict(features) }).r2;
  return permutationImportance(columns, weights.map((_, j) => `x${j}`), score, { repeats, seed });
}

/** Shapley values of a model whose features act together. */
function productShapley({ columns, explained, samples, seed }) {
  const predict = async (features) => rowsOf(features).map(([a, b, c]) => a * b + Math.tanh(c) - 0.5 * a * c);
  return shapleyValues(columns, ['a', 'b', 'c', 'd'], predict, { rows: explained.length, samples, seed }, explained);
}

const functions = { classificationMetrics, regressionMetrics, linearImportance, productShapley };
const answers = [];
for (const [name, ...args] of JSON.parse(readFileSync(0, 'utf8'))) answers.push(await functions[name](...args));
process.stdout.write(JSON.stringify(answers));
