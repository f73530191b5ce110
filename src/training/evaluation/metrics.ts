/** Metrics of a model's answers beside the truth, with scikit-learn's definitions. All figures are shares or in the target's unit. */

/** Of classifiers: classes are numbered from 0. */
export interface Classified {
  truth: ArrayLike<number>;
  predicted: ArrayLike<number>;
  /** Row-major, one row per sample, one column per class; undefined: the model gives labels only. */
  probabilities?: ArrayLike<number> | undefined;
  classes: number;
}

export interface Regressed {
  truth: ArrayLike<number>;
  predicted: ArrayLike<number>;
}

/** By name. A figure that these samples do not define (the AUC of one class, say) is left out. */
export type Metrics = Record<string, number>;

/** Every metric there is, and whether more is better. */
export const METRIC_DIRECTIONS: Readonly<Record<string, 'higher' | 'lower'>> = {
  accuracy: 'higher',
  balancedAccuracy: 'higher',
  precision: 'higher',
  recall: 'higher',
  f1: 'higher',
  precisionWeighted: 'higher',
  recallWeighted: 'higher',
  f1Weighted: 'higher',
  auc: 'higher',
  logLoss: 'lower',
  brier: 'lower',
  mae: 'lower',
  mse: 'lower',
  rmse: 'lower',
  medianAbsoluteError: 'lower',
  maxError: 'lower',
  mape: 'lower',
  r2: 'higher',
};

/** counts[truth][predicted] */
export function confusionMatrix({ truth, predicted, classes }: Classified): number[][] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let i = 0; i < truth.length; i++) counts[truth[i]][predicted[i]]++;
  return counts;
}

/**
 * Of two classes, precision, recall and F1 are those of class 1; of more, their plain mean over the classes that are
 * there (macro). The weighted ones are weighted by how often each class truly is.
 */
export function classificationMetrics(given: Classified): Metrics {
  const n = given.truth.length;
  if (n === 0) return {};
  const counts = confusionMatrix(given);
  const rows = counts.map((row, k) => {
    const hits = row[k];
    const support = row.reduce((a, b) => a + b, 0);
    const claimed = counts.reduce((sum, other) => sum + other[k], 0);
    const precision = claimed === 0 ? 0 : hits / claimed;
    const recall = support === 0 ? 0 : hits / support;
    const f1 = support + claimed === 0 ? 0 : (2 * hits) / (support + claimed);
    return { precision, recall, f1, support, present: support + claimed > 0 };
  });
  const present = rows.filter((row) => row.present);
  const main = given.classes === 2 ? [rows[1]] : present;
  const mean = (of: (row: (typeof rows)[number]) => number): number =>
    main.reduce((sum, row) => sum + of(row), 0) / main.length;
  const weighted = (of: (row: (typeof rows)[number]) => number): number =>
    rows.reduce((sum, row) => sum + of(row) * row.support, 0) / n;
  const supported = rows.filter((row) => row.support > 0);
  return {
    accuracy: counts.reduce((sum, row, k) => sum + row[k], 0) / n,
    balancedAccuracy: supported.reduce((sum, row) => sum + row.recall, 0) / supported.length,
    precision: mean((row) => row.precision),
    recall: mean((row) => row.recall),
    f1: mean((row) => row.f1),
    precisionWeighted: weighted((row) => row.precision),
    recallWeighted: weighted((row) => row.recall),
    f1Weighted: weighted((row) => row.f1),
    ...probabilityMetrics(given),
  };
}

function probabilityMetrics({ truth, probabilities, classes }: Classified): Metrics {
  if (probabilities === undefined) return {};
  const n = truth.length;
  let loss = 0;
  let brier = 0;
  for (let i = 0; i < n; i++) {
    const p = probabilities[i * classes + truth[i]];
    loss -= Math.log(Math.min(Math.max(p, Number.EPSILON), 1 - Number.EPSILON));
    if (classes === 2) brier += (probabilities[i * 2 + 1] - truth[i]) ** 2;
  }
  const area = classes === 2 ? auc(truth, probabilities, 1, 2) : meanAuc(truth, probabilities, classes);
  return {
    logLoss: loss / n,
    ...(classes === 2 ? { brier: brier / n } : {}),
    ...(area === undefined ? {} : { auc: area }),
  };
}

/** One against the rest, averaged over the classes; undefined unless every class is there. */
function meanAuc(truth: ArrayLike<number>, probabilities: ArrayLike<number>, classes: number): number | undefined {
  let sum = 0;
  for (let k = 0; k < classes; k++) {
    const area = auc(truth, probabilities, k, classes);
    if (area === undefined) return undefined;
    sum += area;
  }
  return sum / classes;
}

/** Area under the ROC curve of one class, ties counting half: the rank-sum statistic. */
function auc(
  truth: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  positive: number,
  classes: number,
): number | undefined {
  const n = truth.length;
  const score = (i: number): number => probabilities[i * classes + positive];
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => score(a) - score(b));
  let positives = 0;
  let ranks = 0;
  for (let from = 0; from < n; ) {
    let to = from;
    while (to < n && score(order[to]) === score(order[from])) to++;
    const rank = (from + 1 + to) / 2;
    for (let i = from; i < to; i++) {
      if (truth[order[i]] !== positive) continue;
      positives++;
      ranks += rank;
    }
    from = to;
  }
  if (positives === 0 || positives === n) return undefined;
  return (ranks - (positives * (positives + 1)) / 2) / (positives * (n - positives));
}

export function regressionMetrics({ truth, predicted }: Regressed): Metrics {
  const n = truth.length;
  if (n === 0) return {};
  let absolute = 0;
  let squared = 0;
  let relative = 0;
  let largest = 0;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const error = Math.abs(predicted[i] - truth[i]);
    absolute += error;
    squared += error * error;
    relative += error / Math.max(Math.abs(truth[i]), Number.EPSILON);
    largest = Math.max(largest, error);
    sum += truth[i];
  }
  const mean = sum / n;
  let spread = 0;
  for (let i = 0; i < n; i++) spread += (truth[i] - mean) ** 2;
  const errors = Array.from({ length: n }, (_, i) => Math.abs(predicted[i] - truth[i])).sort((a, b) => a - b);
  const median = (errors[Math.floor((n - 1) / 2)] + errors[Math.ceil((n - 1) / 2)]) / 2;
  return {
    mae: absolute / n,
    mse: squared / n,
    rmse: Math.sqrt(squared / n),
    medianAbsoluteError: median,
    maxError: largest,
    mape: relative / n,
    ...(n > 1 && spread > 0 ? { r2: 1 - squared / spread } : {}),
  };
}
