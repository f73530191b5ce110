/** The place in [low, high] where `before` turns from true to false, by bisection, down to neighbouring doubles unless `steps` ends it. */
export function bisect(low: number, high: number, before: (x: number) => boolean, steps = 200): number {
  for (let i = 0; i < steps; i++) {
    const middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    if (before(middle)) low = middle;
    else high = middle;
  }
  return low + (high - low) / 2;
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** The place of the minimum of a function with one valley in [low, high], by golden sections. */
export function minimise(low: number, high: number, f: (x: number) => number, tolerance = 1e-10): number {
  let a = high - GOLDEN * (high - low);
  let b = low + GOLDEN * (high - low);
  let fa = f(a);
  let fb = f(b);
  while (high - low > tolerance * (1 + Math.abs(low) + Math.abs(high))) {
    if (fa <= fb) {
      high = b;
      b = a;
      fb = fa;
      a = high - GOLDEN * (high - low);
      fa = f(a);
    } else {
      low = a;
      a = b;
      fa = fb;
      b = low + GOLDEN * (high - low);
      fb = f(b);
    }
  }
  return low + (high - low) / 2;
}
