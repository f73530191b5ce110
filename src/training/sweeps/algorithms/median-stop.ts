import type { Report } from './history.ts';

export interface MedianStopSettings {
  /** Complete trials before any is stopped. */
  minTrialsRequired: number;
  /** Steps that every trial may make. */
  startStep: number;
}

/**
 * The median stopping rule (Golovin et al. 2017): a trial stops when the best of its reports so far is worse than the
 * median, over complete trials, of the average of what they had reported up to the same step.
 *
 * @param reports of the running trial, by step; lower values are better.
 * @param complete reports of the complete trials.
 */
export function stopsByMedian(
  reports: readonly Report[],
  complete: readonly (readonly Report[])[],
  { minTrialsRequired, startStep }: MedianStopSettings,
): boolean {
  const last = reports.at(-1);
  if (last === undefined || last.step < startStep) return false;
  const averages = complete.flatMap((trial) => {
    const values = trial.filter(({ step, value }) => step <= last.step && !Number.isNaN(value));
    return values.length === 0 ? [] : [values.reduce((sum, { value }) => sum + value, 0) / values.length];
  });
  if (averages.length < Math.max(1, minTrialsRequired)) return false;
  const best = reports.reduce(
    (least, { value }) => (Number.isNaN(value) ? least : Math.min(least, value)),
    Number.POSITIVE_INFINITY,
  );
  return best > median(averages);
}

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
