/**
 * Every decision computes a distribution, applies the floor to it, restricts it to who may be served, and then draws
 * from exactly that: so the logged propensity is exact by construction.
 */

/** Lifts every share to at least `least` by projection: max(p − τ, least), with the τ that makes it add up to 1. */
export function withFloor(pmf: Float64Array, least: number): Float64Array {
  if (least <= 0) return pmf;
  const floor = Math.min(least, 1 / pmf.length);
  const lifted = new Uint8Array(pmf.length);
  for (;;) {
    let free = 0;
    let mass = 1;
    for (let k = 0; k < pmf.length; k++) {
      if (lifted[k]) mass -= floor;
      else {
        free++;
        mass -= pmf[k];
      }
    }
    const tau = free === 0 ? 0 : -mass / free;
    let more = false;
    for (let k = 0; k < pmf.length; k++) {
      if (lifted[k] || pmf[k] - tau >= floor) continue;
      lifted[k] = 1;
      more = true;
    }
    if (more) continue;
    for (let k = 0; k < pmf.length; k++) pmf[k] = lifted[k] ? floor : pmf[k] - tau;
    return pmf;
  }
}

/** Writes the distribution given that only eligible arms may be drawn. False if they have no share at all. */
export function restrict(pmf: ArrayLike<number>, eligible: (arm: number) => boolean, out: Float64Array): boolean {
  let mass = 0;
  for (let k = 0; k < pmf.length; k++) {
    out[k] = eligible(k) ? pmf[k] : 0;
    mass += out[k];
  }
  if (mass <= 0) return false;
  for (let k = 0; k < pmf.length; k++) out[k] /= mass;
  return true;
}

/** The arm that a uniform number in [0, 1) falls on; never one without a share. */
export function draw(pmf: ArrayLike<number>, uniform: number): number {
  let rest = uniform;
  let last = 0;
  for (let k = 0; k < pmf.length; k++) {
    if (pmf[k] <= 0) continue;
    last = k;
    rest -= pmf[k];
    if (rest < 0) return k;
  }
  return last;
}

/** An even share for each of the arms with the highest score. */
export function evenlyOnBest(scores: ArrayLike<number>, out: Float64Array): Float64Array {
  let best = Number.NEGATIVE_INFINITY;
  let ties = 0;
  for (let k = 0; k < scores.length; k++) {
    if (scores[k] > best) {
      best = scores[k];
      ties = 1;
    } else if (scores[k] === best) ties++;
  }
  for (let k = 0; k < scores.length; k++) out[k] = scores[k] === best ? 1 / ties : 0;
  return out;
}
