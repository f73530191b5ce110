/** Nodes and weights of Gauss and Legendre's rule on [−1, 1], by Newton's method on the Legendre polynomial. */
export function gaussLegendre(order: number): { nodes: Float64Array; weights: Float64Array } {
  const nodes = new Float64Array(order);
  const weights = new Float64Array(order);
  for (let i = 0; i < Math.ceil(order / 2); i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (order + 0.5));
    let slope = 0;
    for (let step = 0; step < 100; step++) {
      let p = 1;
      let before = 0;
      for (let k = 0; k < order; k++) {
        const next = ((2 * k + 1) * x * p - k * before) / (k + 1);
        before = p;
        p = next;
      }
      slope = (order * (x * p - before)) / (x * x - 1);
      const move = p / slope;
      x -= move;
      if (Math.abs(move) < 1e-16) break;
    }
    nodes[i] = -x;
    nodes[order - 1 - i] = x;
    weights[i] = weights[order - 1 - i] = 2 / ((1 - x * x) * slope * slope);
  }
  return { nodes, weights };
}

const RULE = gaussLegendre(12);

/** A distribution as the quadrature needs it, on the whole real line. */
export interface Continuous {
  mean: number;
  deviation: number;
  pdf(x: number): number;
  cdf(x: number): number;
}

/** How many deviations from a mean the panels end; the outer ones hold what heavy tails have left. */
const PANEL_EDGES = [0, 0.5, 1, 2, 3, 4.5, 7, 12, 24];

/**
 * P(arm k is the largest) for independent arms: ∫ f_k(x) Π_{j≠k} F_j(x) dx by panels placed around every arm's mean.
 * Deterministic, and exact to about ten digits; rescaled to add up to 1.
 */
export function probabilitiesOfBest(arms: readonly Continuous[]): Float64Array {
  const edges = new Float64Array(arms.flatMap(panelEdges)).sort();
  const best = new Float64Array(arms.length);
  const cdf = new Float64Array(arms.length);
  for (let e = 1; e < edges.length; e++) {
    const half = (edges[e] - edges[e - 1]) / 2;
    if (half <= 0) continue;
    const middle = edges[e - 1] + half;
    for (let i = 0; i < RULE.nodes.length; i++) {
      const x = middle + half * RULE.nodes[i];
      for (let k = 0; k < arms.length; k++) cdf[k] = arms[k].cdf(x);
      for (let k = 0; k < arms.length; k++) {
        let others = half * RULE.weights[i];
        for (let j = 0; j < arms.length; j++) if (j !== k) others *= cdf[j];
        if (others > 0) best[k] += others * arms[k].pdf(x);
      }
    }
  }
  const total = best.reduce((sum, p) => sum + p, 0);
  return best.map((p) => p / total);
}

function panelEdges({ mean, deviation }: Continuous): number[] {
  return PANEL_EDGES.flatMap((edge) => (edge === 0 ? [mean] : [mean - edge * deviation, mean + edge * deviation]));
}
