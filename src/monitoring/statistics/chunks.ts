/** The band that a figure stays in while nothing changes: nannyml's mean ± 3 σ over chunks of the reference. */
export interface Band {
  mean: number;
  deviation: number;
  low: number;
  high: number;
}

/** σ is the chunks' own (population) deviation. @param limits what the figure can be at all: shares lie in [0, 1] */
export function bandOf(chunks: readonly number[], sigmas = 3, limits: [number, number] = [-Infinity, Infinity]): Band {
  const mean = chunks.reduce((sum, value) => sum + value, 0) / chunks.length;
  const deviation = Math.sqrt(chunks.reduce((sum, value) => sum + (value - mean) ** 2, 0) / chunks.length);
  return {
    mean,
    deviation,
    low: Math.max(limits[0], mean - sigmas * deviation),
    high: Math.min(limits[1], mean + sigmas * deviation),
  };
}
