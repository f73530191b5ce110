import { byValue, type Trial } from './history.ts';
import { densityOf, drawPoint, logDensity } from './parzen.ts';
import type { Random } from './random-source.ts';
import { anyPoint, type Dimension, type Params } from './space.ts';

export interface TpeSettings {
  /** Points drawn blindly before the densities are trusted. */
  startupTrials: number;
  /** Candidates drawn from the good density, of which the best is tried. */
  candidates: number;
  /** All parameters by one density; false: each by its own. */
  multivariate: boolean;
}

/** How many of n trials count as good. */
function goodCount(n: number): number {
  return Math.min(Math.ceil(0.1 * n), 25);
}

/**
 * The tree-structured Parzen estimator (Bergstra et al. 2011): one density of the good trials, one of the others, and
 * of some points drawn from the first the one where the ratio is highest. Trials that still run count among the
 * others, so that parallel ones do not crowd one place.
 */
export function suggestTpe(
  space: readonly Dimension[],
  trials: readonly Trial[],
  settings: TpeSettings,
  random: Random,
): Params {
  const over = trials.filter(({ state }) => state !== 'running');
  if (over.length < settings.startupTrials) return anyPoint(space, random);
  const { good, others } = split(trials, goodCount(over.length));
  const groups = settings.multivariate ? [space] : space.map((dimension) => [dimension]);
  return Object.assign({}, ...groups.map((group) => bestCandidate(group, good, others, settings, random))) as Params;
}

/** Complete trials by value first, then stopped ones: those that came farther, then the better. Each oldest first. */
function split(trials: readonly Trial[], count: number): { good: Params[]; others: Params[] } {
  const complete = trials.filter(({ state }) => state === 'complete').sort(byValue);
  const stopped = trials
    .filter(({ state }) => state === 'stopped')
    .sort((a, b) => b.lastStep - a.lastStep || byValue(a, b));
  const good = new Set([...complete, ...stopped].slice(0, count));
  const inOrder = [...trials].sort((a, b) => a.number - b.number);
  return {
    good: inOrder.filter((trial) => good.has(trial)).map(({ params }) => params),
    others: inOrder.filter((trial) => !good.has(trial)).map(({ params }) => params),
  };
}

function bestCandidate(
  space: readonly Dimension[],
  good: readonly Params[],
  others: readonly Params[],
  { candidates }: TpeSettings,
  random: Random,
): Params {
  const promising = densityOf(space, good);
  const rest = densityOf(space, others);
  let best: Params | undefined;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < candidates; i++) {
    const point = drawPoint(promising, random);
    const score = logDensity(promising, point) - logDensity(rest, point);
    if (best !== undefined && !(score > bestScore)) continue;
    best = point;
    bestScore = score;
  }
  return best ?? anyPoint(space, random);
}
