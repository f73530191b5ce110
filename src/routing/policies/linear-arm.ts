import { invert, multiply, rankOneUpdate } from './linear.ts';
import type { ArmSums } from './statistics.ts';

/** Ridge regression of rewards on contexts, with what its uncertainty needs. */
export interface LinearArm {
  /** (λI + Σ x xᵀ)⁻¹ */
  inverse: Float64Array;
  theta: Float64Array;
}

/**
 * Ridge regression in one go: θ = (λI + Σ x xᵀ)⁻¹ Σ reward·x, with contexts of length `dim` and λ = `regularisation`.
 * Throws RangeError where λI + Σ x xᵀ is not positive definite.
 */
export function linearArm(sums: ArmSums, dim: number, regularisation: number): LinearArm {
  const a = Float64Array.from(sums.outer ?? new Float64Array(dim * dim));
  for (let i = 0; i < dim; i++) a[i * dim + i] += regularisation;
  const inverse = invert(a, dim);
  if (inverse === undefined) throw new RangeError(`the ${dim}×${dim} sums of contexts are not positive definite`);
  const theta = new Float64Array(dim);
  multiply(inverse, Float64Array.from(sums.weighted ?? new Float64Array(dim)), theta);
  return { inverse, theta };
}

/** Rank-one updates after which the inverse is computed anew, before rounding adds up. */
const REFACTOR_EVERY = 1000;

/** A linear arm that learns one reward at a time: what a single node, a replay or a simulation uses. */
export interface OnlineLinearArm extends LinearArm {
  /** λI + Σ x xᵀ and Σ reward · x. */
  a: Float64Array;
  b: Float64Array;
  updates: number;
}

/** One that has learnt nothing: θ = 0. @param regularisation λ, above 0 */
export function onlineLinearArm(dim: number, regularisation: number): OnlineLinearArm {
  const a = new Float64Array(dim * dim);
  const inverse = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) {
    a[i * dim + i] = regularisation;
    inverse[i * dim + i] = 1 / regularisation;
  }
  return { a, b: new Float64Array(dim), inverse, theta: new Float64Array(dim), updates: 0 };
}

/** Takes in one reward with its context, in place. @param scratch as long as `x`; overwritten */
export function learn(arm: OnlineLinearArm, x: ArrayLike<number>, reward: number, scratch: Float64Array): void {
  const dim = x.length;
  for (let i = 0; i < dim; i++) {
    arm.b[i] += reward * x[i];
    for (let j = 0; j < dim; j++) arm.a[i * dim + j] += x[i] * x[j];
  }
  const exact = ++arm.updates % REFACTOR_EVERY === 0 ? invert(arm.a, dim) : undefined;
  if (exact !== undefined) arm.inverse = exact;
  else rankOneUpdate(arm.inverse, x, scratch);
  multiply(arm.inverse, arm.b, arm.theta);
}
