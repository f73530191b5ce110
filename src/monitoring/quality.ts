import type { Finding } from './alarm.ts';
import type { QualityMetric, QualitySpec } from './document.ts';
import { bandOf } from './statistics/chunks.ts';
import { type Interval, meanInterval, shareInterval } from './statistics/interval.ts';
import type { QualitySums } from './types.ts';
import { short } from './verdict.ts';

export function qualityValue(metric: QualityMetric, sums: QualitySums): number {
  switch (metric) {
    case 'accuracy':
      return sums.correct / sums.rows;
    case 'errorRate':
      return 1 - sums.correct / sums.rows;
    case 'mae':
      return sums.absolute / sums.rows;
    case 'rmse':
      return Math.sqrt(sums.square / sums.rows);
  }
}

/** 95 % interval of a window's figure, as if its rows were drawn one by one: Wilson's of shares, else by the central limit. */
export function qualityInterval(metric: QualityMetric, sums: QualitySums): Interval {
  const { rows, correct, absolute, square, fourth } = sums;
  switch (metric) {
    case 'accuracy':
      return shareInterval(correct, rows);
    case 'errorRate':
      return shareInterval(rows - correct, rows);
    case 'mae':
      return meanInterval(absolute / rows, square / rows, rows);
    case 'rmse': {
      const { low, high } = meanInterval(square / rows, fourth / rows, rows);
      return { low: Math.sqrt(low), high: Math.sqrt(high) };
    }
  }
}

const LIMITS: Record<QualityMetric, [number, number]> = {
  accuracy: [0, 1],
  errorRate: [0, 1],
  mae: [0, Number.POSITIVE_INFINITY],
  rmse: [0, Number.POSITIVE_INFINITY],
};

export interface QualityFinding {
  metric: QualityMetric;
  value: number;
  finding: Finding;
  reason: string;
  low: number | null;
  high: number | null;
}

/**
 * Holds a window's figures against the limits that were set, and against the band of the version's first windows.
 * @param first the figures of those windows, as far as they are known
 */
export function judgeQuality(
  rule: QualitySpec['metrics'][number],
  sums: QualitySums,
  first: readonly number[],
): QualityFinding {
  const { metric } = rule;
  const value = qualityValue(metric, sums);
  const learnt =
    rule.sigmas !== undefined && first.length >= rule.windows
      ? bandOf(first.slice(0, rule.windows), rule.sigmas, LIMITS[metric])
      : undefined;
  const low = most([rule.min, metric === 'accuracy' ? learnt?.low : undefined], Math.max);
  const high = most([rule.max, metric === 'accuracy' ? undefined : learnt?.high], Math.min);
  const told = { metric, value, low, high };
  if (low !== null && value < low)
    return { ...told, finding: 'bad', reason: `${metric} is ${short(value)}, at least ${short(low)} is wanted` };
  if (high !== null && value > high)
    return { ...told, finding: 'bad', reason: `${metric} is ${short(value)}, at most ${short(high)} is wanted` };
  return { ...told, finding: low === null && high === null ? 'unknown' : 'good', reason: '' };
}

function most(values: readonly (number | undefined)[], pick: (...values: number[]) => number): number | null {
  const given = values.filter((value) => value !== undefined);
  return given.length === 0 ? null : pick(...given);
}
