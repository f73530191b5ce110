import { createHash } from 'node:crypto';
import type { FeatureViewDocument } from '../documents/schema.ts';
import type { FeatureType } from '../documents/values.ts';

export const AGGREGATES = ['count', 'sum', 'mean', 'min', 'max', 'last', 'countDistinct', 'stddev'] as const;
export type AggregateName = (typeof AGGREGATES)[number];

/** An event this far ahead of its arrival, or of the server's clock, comes of a clock that is wrong. */
export const MAX_AHEAD_MS = 60_000;
/** Panes of one entity at most: what a window's length is of the shortest slide of its view. */
export const MAX_PANES = 1000;

/** A column of events as an accumulator takes it: a value of the type, whether there is one, or its hash. */
export interface EventInput {
  column: string;
  type: FeatureType | 'present' | 'hash';
}

/** What a pane keeps. `input`: position in the plan's inputs; -1: none, every event counts. */
export interface Accumulator {
  kind: 'count' | 'sum' | 'squares' | 'min' | 'max' | 'last' | 'distinct';
  input: number;
  /** distinct: counted exactly up to so many. */
  limit: number;
}

/** How one feature is read: from which accumulators, over which panes. */
export interface WindowRead {
  of: AggregateName;
  type: FeatureType;
  windowMs: number;
  slideMs: number;
  limit: number;
  /** count and mean: count, then sum; stddev: count, sum, squares; otherwise one. */
  parts: readonly number[];
}

/** The windowed aggregates of a view: events go into panes, and windows are read by merging panes. */
export interface WindowPlan {
  paneMs: number;
  /** Panes that ended longer ago than this before the newest arrival are in no window any more. */
  keepMs: number;
  /** From the begin of the longest window to now, at most. */
  horizonMs: number;
  latenessMs: number;
  /** Column that tells events apart; undefined: none does. */
  id: string | undefined;
  /** Column that says when an event came, in files. */
  arrival: string;
  inputs: readonly EventInput[];
  accumulators: readonly Accumulator[];
  /** One for each feature of the view. */
  reads: readonly WindowRead[];
  /** Names everything that kept state depends on: with another layout a view starts anew. */
  layout: string;
}

/** Undefined: the view's features are rows, not aggregates. The document was checked before. */
export function planWindows({ spec }: FeatureViewDocument): WindowPlan | undefined {
  if (spec.features[0].aggregate === undefined) return undefined;
  const inputs: EventInput[] = [];
  const accumulators: Accumulator[] = [];
  const inputOf = (column: string | undefined, type: EventInput['type']): number => {
    if (column === undefined) return -1;
    const known = inputs.findIndex((each) => each.column === column && each.type === type);
    return known >= 0 ? known : inputs.push({ column, type }) - 1;
  };
  const partOf = (kind: Accumulator['kind'], input: number, limit = 0): number => {
    const known = accumulators.findIndex((a) => a.kind === kind && a.input === input && a.limit === limit);
    return known >= 0 ? known : accumulators.push({ kind, input, limit }) - 1;
  };
  const reads = spec.features.map(({ type, aggregate }): WindowRead => {
    const { of, column, window, slide, limit } = aggregate as NonNullable<typeof aggregate>;
    const read = { of, type, windowMs: window, slideMs: slide ?? window, limit };
    const parts = (): number[] => {
      switch (of) {
        case 'count':
          return [partOf('count', inputOf(column, 'present'))];
        case 'countDistinct':
          return [partOf('distinct', inputOf(column, 'hash'), limit)];
        case 'sum':
          return [partOf('sum', inputOf(column, type === 'int64' ? 'int64' : 'float64'))];
        case 'mean':
        case 'stddev': {
          const input = inputOf(column, 'float64');
          const both = [partOf('count', input), partOf('sum', input)];
          return of === 'mean' ? both : [...both, partOf('squares', input)];
        }
        default:
          return [partOf(of, inputOf(column, type))];
      }
    };
    return { ...read, parts: parts() };
  });
  const paneMs = reads.reduce((pane, { slideMs }) => divisor(pane, slideMs), 0);
  const horizonMs = Math.max(...reads.map(({ windowMs, slideMs }) => windowMs + slideMs));
  const { id, arrival, timestamp } = spec.source;
  const plan = {
    paneMs,
    horizonMs,
    keepMs: horizonMs + MAX_AHEAD_MS,
    latenessMs: spec.lateness,
    id,
    arrival,
    inputs,
    accumulators,
  };
  const depends = JSON.stringify([plan, timestamp, spec.entities]);
  const layout = createHash('sha256').update(depends).digest('hex').slice(0, 12);
  return { ...plan, reads, layout };
}

/** The greatest length that both are multiples of. */
export function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b);
}
