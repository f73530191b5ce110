import { normalCdf, normalPdf } from '../../experiments/statistics/normal.ts';
import { probabilitiesOfBest } from '../../experiments/statistics/quadrature.ts';
import { evenlyOnBest } from './distribution.ts';
import { multiply } from './linear.ts';
import type { LinearArm } from './linear-arm.ts';

/** Policies whose distribution depends on the request. Computed per request from the snapshot's matrices. */
export interface ContextualScratch {
  scores: Float64Array;
  deviations: Float64Array;
  u: Float64Array;
}

/** Memory for deciding among so many arms with contexts of length `dim`; overwritten each time. */
export function contextualScratch(arms: number, dim: number): ContextualScratch {
  return { scores: new Float64Array(arms), deviations: new Float64Array(arms), u: new Float64Array(dim) };
}

/** LinUCB: all on the highest xᵀθ + α√(xᵀA⁻¹x). */
export function linUcb(
  arms: readonly LinearArm[],
  x: Float64Array,
  alpha: number,
  scratch: ContextualScratch,
  out: Float64Array,
): Float64Array {
  predict(arms, x, scratch);
  for (let k = 0; k < arms.length; k++) scratch.scores[k] += alpha * scratch.deviations[k];
  return evenlyOnBest(scratch.scores, out);
}

/**
 * Linear Thompson sampling with θ ~ N(θ̂, ν²A⁻¹) for each arm: the arms' scores are independent Gaussians, so that the
 * probability of being best is Φ for two arms and a quadrature for more.
 */
export function linThompson(
  arms: readonly LinearArm[],
  x: Float64Array,
  nu: number,
  scratch: ContextualScratch,
  out: Float64Array,
): Float64Array {
  predict(arms, x, scratch);
  const { scores, deviations } = scratch;
  if (arms.length === 1) return out.fill(1);
  if (arms.length === 2) {
    const spread = nu * Math.hypot(deviations[0], deviations[1]);
    if (spread === 0) return evenlyOnBest(scores, out);
    out[1] = normalCdf((scores[1] - scores[0]) / spread);
    out[0] = 1 - out[1];
    return out;
  }
  const least = 1e-12;
  const best = probabilitiesOfBest(
    arms.map((_, k) => {
      const mean = scores[k];
      const deviation = Math.max(nu * deviations[k], least);
      return {
        mean,
        deviation,
        pdf: (score) => normalPdf((score - mean) / deviation) / deviation,
        cdf: (score) => normalCdf((score - mean) / deviation),
      };
    }),
  );
  out.set(best);
  return out;
}

/** Fills the scratch with xᵀθ and √(xᵀA⁻¹x) of every arm. */
function predict(arms: readonly LinearArm[], x: Float64Array, { scores, deviations, u }: ContextualScratch): void {
  for (let k = 0; k < arms.length; k++) {
    const { inverse, theta } = arms[k];
    deviations[k] = Math.sqrt(Math.max(0, multiply(inverse, x, u)));
    let score = 0;
    for (let i = 0; i < x.length; i++) score += x[i] * theta[i];
    scores[k] = score;
  }
}
