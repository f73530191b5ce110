import { METRIC_DIRECTIONS } from './metrics.ts';
import type { Evaluation } from './store.ts';

export interface ComparedVersion {
  version: string;
  evaluation: string;
  samples: number;
  created_at: number;
}

export interface ComparedMetric {
  metric: string;
  /** Null: over all samples. */
  slice: string | null;
  better: 'higher' | 'lower' | null;
  /** By version; null: it has no such figure. */
  values: Record<string, number | null>;
  /** The best version; null: nobody knows which is better, or it is a tie. */
  best: string | null;
}

export interface Comparison {
  model: string;
  /** The dataset that all of them were evaluated on; null: there is none. */
  dataset: { digest: string; name: string } | null;
  versions: ComparedVersion[];
  /** Versions without an evaluation on that dataset. */
  missing: string[];
  metrics: ComparedMetric[];
}

/**
 * Puts versions side by side. Figures of different data say nothing about one another, so all are of one dataset: that on
 * which most of the versions were evaluated, the newest among equals.
 *
 * @param versions empty: all that have an evaluation
 * @param found evaluations of the model, newest first
 */
export function compareEvaluations(
  model: string,
  versions: readonly string[],
  found: readonly Evaluation[],
): Comparison {
  const wanted =
    versions.length > 0 ? [...versions] : [...new Set(found.map(({ version }) => version))].filter((one) => one !== '');
  const byDataset = new Map<string, Map<string, Evaluation>>();
  for (const evaluation of found) {
    if (!wanted.includes(evaluation.version)) continue;
    const own = byDataset.get(evaluation.dataset_digest) ?? new Map<string, Evaluation>();
    if (!own.has(evaluation.version)) own.set(evaluation.version, evaluation);
    byDataset.set(evaluation.dataset_digest, own);
  }
  let chosen = new Map<string, Evaluation>();
  for (const own of byDataset.values()) if (own.size > chosen.size) chosen = own;
  const compared = wanted.flatMap((version) => chosen.get(version) ?? []);
  const [first] = compared;
  return {
    model,
    dataset: first === undefined ? null : { digest: first.dataset_digest, name: first.dataset_name },
    versions: compared.map(({ version, id, result, created_at }) => ({
      version,
      evaluation: id,
      samples: result.samples,
      created_at,
    })),
    missing: wanted.filter((version) => !chosen.has(version)),
    metrics: [...metricRows(compared, null), ...sliceNames(compared).flatMap((slice) => metricRows(compared, slice))],
  };
}

function metricRows(compared: readonly Evaluation[], slice: string | null): ComparedMetric[] {
  const figures = compared.map(({ version, result }) => ({
    version,
    metrics: slice === null ? result.metrics : (result.slices.find(({ name }) => name === slice)?.metrics ?? {}),
  }));
  const names = [...new Set(figures.flatMap(({ metrics }) => Object.keys(metrics)))];
  return names.map((metric) => {
    const better = METRIC_DIRECTIONS[metric] ?? null;
    const values = Object.fromEntries(figures.map(({ version, metrics }) => [version, metrics[metric] ?? null]));
    return { metric, slice, better, values, best: better === null ? null : bestOf(values, better) };
  });
}

function bestOf(values: Readonly<Record<string, number | null>>, better: 'higher' | 'lower'): string | null {
  const known = Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== null);
  const sign = better === 'higher' ? 1 : -1;
  known.sort(([, a], [, b]) => sign * (b - a));
  if (known.length < 2 || known[0][1] === known[1][1]) return null;
  return known[0][0];
}

function sliceNames(compared: readonly Evaluation[]): string[] {
  return [...new Set(compared.flatMap(({ result }) => result.slices.map(({ name }) => name)))];
}
