import { type AggregateName, divisor, MAX_PANES } from '../windows/plan.ts';
import type { FeatureType } from './values.ts';

interface Aggregated {
  type: FeatureType;
  length: number;
  aggregate?:
    | { of: AggregateName; column?: string | undefined; window: number; slide?: number | undefined }
    | undefined;
}

interface Problem {
  path: (string | number)[];
  message: string;
}

const FLOATS: readonly FeatureType[] = ['float32', 'float64'];
const COUNTS: readonly FeatureType[] = ['int32', 'int64', ...FLOATS];
/** Types that a feature of each aggregate may have. */
const TYPES: Readonly<Record<AggregateName, readonly FeatureType[]>> = {
  count: COUNTS,
  countDistinct: COUNTS,
  sum: ['int64', ...FLOATS],
  mean: FLOATS,
  stddev: FLOATS,
  min: ['int32', 'int64', 'timestamp', ...FLOATS],
  max: ['int32', 'int64', 'timestamp', ...FLOATS],
  last: ['bool', 'int32', 'int64', 'timestamp', 'string', ...FLOATS],
};
const MIN_SLIDE_MS = 1000;
const MAX_LATENESS_MS = 7 * 24 * 3600 * 1000;

/** What is wrong with the windows of a view's features, with its place below `spec`. */
export function viewWindowProblems(spec: {
  features: readonly Aggregated[];
  ttl: number;
  lateness: number;
  source: { id?: string | undefined };
}): Problem[] {
  const { features, ttl, lateness, source } = spec;
  const slides = features.flatMap(({ aggregate }) =>
    aggregate === undefined ? [] : [aggregate.slide ?? aggregate.window],
  );
  if (slides.length === 0)
    return source.id === undefined ? [] : [{ path: ['source', 'id'], message: 'only aggregates count events by id' }];
  const problems: Problem[] = [];
  if (ttl > 0) problems.push({ path: ['ttl'], message: 'windows say how long events count; leave ttl out' });
  if (lateness > MAX_LATENESS_MS) problems.push({ path: ['lateness'], message: 'must be 7d or less' });
  const pane = slides.reduce(divisor, 0);
  for (const [i, feature] of features.entries())
    for (const { path, message } of featureProblems(feature, pane))
      problems.push({ path: ['features', i, ...path], message });
  return problems;
}

function featureProblems({ type, length, aggregate }: Aggregated, pane: number): Problem[] {
  if (aggregate === undefined)
    return [{ path: [], message: 'has no aggregate, and others of the view have; put it into a view of its own' }];
  const { of, column, window, slide = window } = aggregate;
  const problems: Problem[] = [];
  const wrong = (key: string, message: string): void => {
    problems.push({ path: ['aggregate', key], message });
  };
  if (length > 0) problems.push({ path: ['length'], message: 'an aggregate is one value' });
  if (!TYPES[of].includes(type))
    problems.push({ path: ['type'], message: `${of} makes one of ${TYPES[of].join(', ')}, not ${type}` });
  if (column === undefined && of !== 'count') wrong('of', `${of} needs a column of the events`);
  const at = aggregate.slide === undefined ? 'window' : 'slide';
  if (!Number.isInteger(slide) || slide < MIN_SLIDE_MS) wrong(at, 'must be 1s or longer, in whole milliseconds');
  else if (!Number.isInteger(window) || window % slide !== 0) wrong('window', 'must be a multiple of slide');
  else if (window / pane > MAX_PANES)
    wrong(
      'window',
      `is ${window / pane} times as long as the view's panes of ${pane} ms, which all its slides are multiples of; at most ${MAX_PANES} times is allowed: lengthen the slides, or put it into a view of its own`,
    );
  return problems;
}
