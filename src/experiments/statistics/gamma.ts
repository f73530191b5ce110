/**
 * Gamma, beta and their regularised incomplete integrals. jstat loses digits for the large counts that a gateway
 * collects (its log-beta subtracts numbers near 1e8), so these are our own; tests hold them to SciPy's values.
 */

const HALF_LOG_TWO_PI = 0.9189385332046727;
const STIRLING_FROM = 12;
const TINY = 1e-300;

/** What Stirling's formula leaves out of ln Γ(x), for x ≥ STIRLING_FROM. */
function stirlingRest(x: number): number {
  const y = 1 / (x * x);
  return (
    (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y * (1 / 1188 - (y * 691) / 360360 + (y * y) / 156))))) / x
  );
}

/** ln Γ(x) for x > 0. */
export function logGamma(x: number): number {
  if (!(x > 0)) return x === 0 ? Number.POSITIVE_INFINITY : Number.NaN;
  if (x === Number.POSITIVE_INFINITY) return x;
  let shift = 1;
  while (x < STIRLING_FROM) shift *= x++;
  return (x - 0.5) * Math.log(x) - x + HALF_LOG_TWO_PI + stirlingRest(x) - Math.log(shift);
}

/** ln B(a, b) for a, b > 0, without the cancellation of three large ln Γ. */
export function logBeta(a: number, b: number): number {
  const small = Math.min(a, b);
  const large = Math.max(a, b);
  const sum = a + b;
  if (large < STIRLING_FROM) return logGamma(a) + logGamma(b) - logGamma(sum);
  const rest = stirlingRest(large) - stirlingRest(sum);
  const common = large * Math.log1p(-small / sum);
  if (small < STIRLING_FROM) {
    return logGamma(small) + rest + small - small * Math.log(sum) - 0.5 * Math.log1p(-small / sum) + common;
  }
  return (
    HALF_LOG_TWO_PI +
    stirlingRest(small) +
    rest -
    0.5 * Math.log(large) +
    (small - 0.5) * Math.log(small / sum) +
    common
  );
}

/** Q(a, x) = Γ(a, x) / Γ(a), the regularised upper incomplete gamma function. */
export function gammaUpper(a: number, x: number): number {
  if (x <= 0) return 1;
  return x < a + 1 ? 1 - gammaSeries(a, x) : gammaFraction(a, x);
}

/** P(a, x) = 1 − Q(a, x). */
export function gammaLower(a: number, x: number): number {
  if (x <= 0) return 0;
  return x < a + 1 ? gammaSeries(a, x) : 1 - gammaFraction(a, x);
}

function gammaSeries(a: number, x: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < 100_000; n++) {
    term *= x / (a + n);
    sum += term;
    if (term < sum * 1e-17) break;
  }
  return sum * Math.exp(a * Math.log(x) - x - logGamma(a));
}

function gammaFraction(a: number, x: number): number {
  let b = x + 1 - a;
  let c = 1 / TINY;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < 100_000; n++) {
    const an = -n * (n - a);
    b += 2;
    d = 1 / (an * d + b || TINY);
    c = b + an / c || TINY;
    const factor = c * d;
    h *= factor;
    if (Math.abs(factor - 1) <= Number.EPSILON) break;
  }
  return h * Math.exp(a * Math.log(x) - x - logGamma(a));
}

/** I_x(a, b), the distribution function of Beta(a, b) at x. */
export function betaCdf(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  return betaCdfOf(x, 1 - x, a, b);
}

/** The same with 1 − x given, for x so close to 1 that subtraction would lose it. */
export function betaCdfOf(x: number, y: number, a: number, b: number): number {
  const front = Math.exp(a * Math.log(x) + b * Math.log(y) - logBeta(a, b));
  if (x < (a + 1) / (a + b + 2)) return (front * betaFraction(x, a, b)) / a;
  return 1 - (front * betaFraction(y, b, a)) / b;
}

/** Lentz's evaluation of the continued fraction of the incomplete beta function. */
function betaFraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1) || TINY);
  let h = d;
  for (let m = 1; m < 100_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d || TINY);
    c = 1 + even / c || TINY;
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d || TINY);
    c = 1 + odd / c || TINY;
    const factor = d * c;
    h *= factor;
    if (Math.abs(factor - 1) <= Number.EPSILON) break;
  }
  return h;
}

/** ψ(x) and ψ′(x), by recurrence up to where the asymptotic series is exact. */
export function digamma(x: number): number {
  let result = 0;
  while (x < STIRLING_FROM) result -= 1 / x++;
  const y = 1 / (x * x);
  return result + Math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))));
}

/** ψ′(x) for x > 0, in the same way (Abramowitz and Stegun 6.4.12). */
export function trigamma(x: number): number {
  let result = 0;
  for (; x < STIRLING_FROM; x++) result += 1 / (x * x);
  const y = 1 / (x * x);
  return result + 1 / x + y / 2 + (y / x) * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - (y * 5) / 66))));
}

/** P(χ²_k > x). */
export function chiSquareTail(x: number, degrees: number): number {
  return gammaUpper(degrees / 2, x / 2);
}
