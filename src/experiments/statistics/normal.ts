import { gammaLower, gammaUpper } from './gamma.ts';

const INVERSE_SQRT_TWO_PI = 0.3989422804014327;

/** φ(z), the density of the standard normal distribution. */
export function normalPdf(z: number): number {
  return INVERSE_SQRT_TWO_PI * Math.exp(-0.5 * z * z);
}

/** Φ(z), exact in both tails. */
export function normalCdf(z: number): number {
  const half = 0.5 * z * z;
  if (z < -1) return 0.5 * gammaUpper(0.5, half);
  if (z > 1) return 1 - 0.5 * gammaUpper(0.5, half);
  return 0.5 + 0.5 * Math.sign(z) * gammaLower(0.5, half);
}

/** ln Φ(z), finite where Φ itself underflows. */
export function logNormalCdf(z: number): number {
  if (z > -30) return Math.log(normalCdf(z));
  const y = 1 / (z * z);
  return -0.5 * z * z + Math.log(INVERSE_SQRT_TWO_PI / -z) + Math.log1p(-y * (1 - y * (3 - 15 * y)));
}

/** Φ⁻¹(p), by Newton's method on a rational first guess. */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) return p === 0 ? Number.NEGATIVE_INFINITY : p === 1 ? Number.POSITIVE_INFINITY : Number.NaN;
  if (p > 0.5) return -normalQuantile(1 - p);
  const t = Math.sqrt(-2 * Math.log(p));
  let z = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
  // In logarithms the function is nearly quadratic, and the steps hold far into the tail.
  for (let i = 0; i < 50; i++) {
    const log = logNormalCdf(z);
    const slope = Math.exp(-0.5 * z * z - log) * INVERSE_SQRT_TWO_PI;
    const step = (log - Math.log(p)) / slope;
    z -= step;
    if (Math.abs(step) < 1e-15 * Math.abs(z) + 1e-16) break;
  }
  return z;
}
