import { bernoulliInterval } from '../../experiments/statistics/bernoulli.ts';
import type { ShadowSums } from './ledger.ts';

export interface ShadowView {
  match: number;
  mismatch: number;
  failed: number;
  dropped: number;
  uncompared: number;
  /** Mismatches and failures per comparison; null: nothing was compared. */
  mismatch_rate: number | null;
  /** Interval of the rate, 95 %, valid at all looks at once. */
  mismatch_low: number;
  mismatch_high: number;
  /** Of the route's shadow.compare; null: it names none, and there is no verdict. */
  max_mismatch: number | null;
  verdict: 'pass' | 'fail' | 'inconclusive' | null;
}

const ALPHA = 0.05;
/** Comparisons at which the interval is tuned to be tightest, as for a metric that names no minRequests. */
const TUNED_TO = 1000;

/** A copy that failed differs from the answer that the client got. */
export function comparisons({ match, mismatch, failed }: Pick<ShadowSums, 'match' | 'mismatch' | 'failed'>): {
  compared: number;
  mismatched: number;
} {
  return { compared: match + mismatch + failed, mismatched: mismatch + failed };
}

/** What a variant's shadowed requests say of it, and whether that is within what its route allows. */
export function shadowView(
  { match, mismatch, failed, dropped, uncompared }: Omit<ShadowSums, 'examples' | 'variant' | 'model' | 'version'>,
  maxMismatch: number | undefined,
): ShadowView {
  const { compared, mismatched } = comparisons({ match, mismatch, failed });
  const { low, high } = bernoulliInterval(mismatched, compared, ALPHA, TUNED_TO, ALPHA);
  return {
    match,
    mismatch,
    failed,
    dropped,
    uncompared,
    mismatch_rate: compared === 0 ? null : mismatched / compared,
    mismatch_low: low,
    mismatch_high: high,
    max_mismatch: maxMismatch ?? null,
    verdict:
      maxMismatch === undefined ? null : low > maxMismatch ? 'fail' : high < maxMismatch ? 'pass' : 'inconclusive',
  };
}
