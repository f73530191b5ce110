import type { FeatureValue, Scalar } from '../documents/values.ts';
import { valueText } from '../documents/values.ts';
import { addHash, type DistinctSketch, distinctCount } from './distinct.ts';
import { addNumber, addProduct, addSum, deviationOf, type ExactSum, roundedSum, wideSum } from './exact-sum.ts';
import type { Accumulator, WindowPlan, WindowRead } from './plan.ts';

/** Something that happened to an entity. */
export interface WindowEvent {
  /** As `entityKey` made it. */
  key: string;
  /** When it happened, and when it came here: milliseconds since 1970. */
  time: number;
  arrived: number;
  /** Hash of what tells it apart. */
  id?: string;
  /** Where it stood in a partition. Within one source offsets ascend. */
  origin?: { source: string; offset: number };
  /** One for each input of the plan; null: the event has none. */
  cells: readonly (Scalar | null)[];
}

export type EventOutcome = 'kept' | 'late' | 'duplicate';

/** count: a number; sum and squares: exact sums; min and max: a value; last: its time and itself; distinct: a sketch. */
type Part = number | ExactSum | DistinctSketch | Scalar | null | [number, Scalar];

interface Pane {
  /** Newest time of an event. */
  time: number;
  parts: Part[];
}

/**
 * What is kept of one entity: panes by number, and what is needed to take no event twice. Everything in it is the same for
 * the same events in whatever order they came.
 */
export interface WindowState {
  /** Newest arrival of an event that was kept. */
  arrived: number;
  panes: Map<number, Pane>;
  /** Ids of the events of a pane, as long as one that comes again would not be late. */
  ids: Map<number, Set<string>>;
  /** Highest offset that was taken, by source. */
  offsets: Map<string, number>;
}

export function newState(): WindowState {
  return { arrived: 0, panes: new Map(), ids: new Map(), offsets: new Map() };
}

/** Takes an event, once. An event is late when it came more than the view's lateness after it happened. */
export function applyEvent(plan: WindowPlan, state: WindowState, event: WindowEvent): EventOutcome {
  const { time, arrived, id, origin } = event;
  if (origin !== undefined) {
    if (origin.offset <= (state.offsets.get(origin.source) ?? -1)) return 'duplicate';
    state.offsets.set(origin.source, origin.offset);
  }
  if (arrived - time > plan.latenessMs) return 'late';
  const number = Math.floor(time / plan.paneMs);
  if (id !== undefined) {
    const ids = state.ids.get(number) ?? new Set();
    if (ids.has(id)) return 'duplicate';
    state.ids.set(number, ids.add(id));
  }
  let pane = state.panes.get(number);
  if (pane === undefined) {
    pane = { time, parts: plan.accumulators.map(emptyPart) };
    state.panes.set(number, pane);
  }
  pane.time = Math.max(pane.time, time);
  for (const [i, accumulator] of plan.accumulators.entries()) pane.parts[i] = added(accumulator, pane.parts[i], event);
  if (arrived > state.arrived) {
    state.arrived = arrived;
    prune(plan, state);
  }
  return 'kept';
}

function prune({ paneMs, keepMs, latenessMs }: WindowPlan, { arrived, panes, ids }: WindowState): void {
  for (const number of panes.keys()) if ((number + 1) * paneMs < arrived - keepMs) panes.delete(number);
  for (const number of ids.keys()) if ((number + 1) * paneMs + latenessMs < arrived) ids.delete(number);
}

function emptyPart({ kind }: Accumulator): Part {
  if (kind === 'count') return 0;
  return kind === 'sum' || kind === 'squares' || kind === 'distinct' ? [] : null;
}

function added({ kind, input, limit }: Accumulator, part: Part, { time, cells }: WindowEvent): Part {
  const cell = input < 0 ? true : cells[input];
  if (cell === null) return part;
  switch (kind) {
    case 'count':
      return (part as number) + 1;
    case 'sum':
      addNumber(part as ExactSum, cell as number | bigint);
      return part;
    case 'squares':
      addProduct(part as ExactSum, Number(cell), Number(cell));
      return part;
    case 'distinct':
      addHash(part as DistinctSketch, cell as number, limit);
      return part;
    case 'last':
      return later(part as [number, Scalar] | null, [time, cell]);
    default:
      return extreme(kind, part as Scalar | null, cell);
  }
}

/** Of two parts that were kept of different panes. `into` is changed. */
function merged({ kind, limit }: Accumulator, into: Part, part: Part): Part {
  switch (kind) {
    case 'count':
      return (into as number) + (part as number);
    case 'sum':
    case 'squares':
      addSum(into as ExactSum, part as ExactSum);
      return into;
    case 'distinct':
      for (const hash of part as DistinctSketch) addHash(into as DistinctSketch, hash, limit);
      return into;
    case 'last':
      return part === null ? into : later(into as [number, Scalar] | null, part as [number, Scalar]);
    default:
      return part === null ? into : extreme(kind, into as Scalar | null, part as Scalar);
  }
}

function extreme(kind: 'min' | 'max', a: Scalar | null, b: Scalar): Scalar {
  if (a === null) return b;
  return kind === 'min' ? (b < a ? b : a) : b > a ? b : a;
}

/** Of two events at the same time the one with the greater text, so that their order does not matter. */
function later(a: [number, Scalar] | null, b: [number, Scalar]): [number, Scalar] {
  if (a === null || b[0] > a[0]) return b;
  return b[0] === a[0] && valueText(b[1]) > valueText(a[1]) ? b : a;
}

/**
 * The features of an entity as of a time: each aggregate's last window that had ended then. Undefined: no window of the
 * view has an event. Without values count, countDistinct and sum are 0, others null.
 * @param fields which of the view's features, in this order
 */
export function readWindows(
  plan: WindowPlan,
  state: WindowState,
  at: number,
  fields: readonly number[],
): { time: number; values: FeatureValue[] } | undefined {
  const { paneMs, reads } = plan;
  const { panes } = state;
  const spans = reads.map(({ windowMs, slideMs }) => {
    const end = Math.floor(at / slideMs) * slideMs;
    return { from: (end - windowMs) / paneMs, end: end / paneMs };
  });
  let time = Number.NEGATIVE_INFINITY;
  for (const [number, pane] of panes)
    if (spans.some(({ from, end }) => number >= from && number < end)) time = Math.max(time, pane.time);
  if (time === Number.NEGATIVE_INFINITY) return undefined;
  const numbers = [...panes.keys()].sort((a, b) => a - b);
  const values = fields.map((field) => {
    const { from, end } = spans[field];
    const { parts } = reads[field];
    const whole = parts.map((part) => emptyPart(plan.accumulators[part]));
    for (const number of numbers)
      if (number >= from && number < end)
        for (const [i, part] of parts.entries())
          whole[i] = merged(plan.accumulators[part], whole[i], (panes.get(number) as Pane).parts[part]);
    return aggregateOf(reads[field], whole);
  });
  return { time, values };
}

function aggregateOf({ of, type, limit }: WindowRead, parts: readonly Part[]): FeatureValue {
  const float = (value: number): number => (type === 'float32' ? Math.fround(value) : value);
  switch (of) {
    case 'count':
      return parts[0] as number;
    case 'countDistinct':
      return distinctCount(parts[0] as DistinctSketch, limit);
    case 'sum': {
      const sum = roundedSum(parts[0] as ExactSum);
      return type === 'int64' && !Number.isSafeInteger(sum) ? wideSum(parts[0] as ExactSum) : float(sum);
    }
    case 'mean':
      return parts[0] === 0 ? null : float(roundedSum(parts[1] as ExactSum) / (parts[0] as number));
    case 'stddev':
      if (parts[0] === 0) return null;
      return float(deviationOf(parts[0] as number, parts[1] as ExactSum, parts[2] as ExactSum));
    case 'last':
      return parts[0] === null ? null : (parts[0] as [number, Scalar])[1];
    default:
      return parts[0] as Scalar | null;
  }
}

/** When nothing of the state is in a window any more. Milliseconds since 1970. */
export function expiryOf({ paneMs, keepMs }: WindowPlan, { arrived, panes }: WindowState): number {
  const newest = Math.max(arrived, ...[...panes.keys()].map((number) => (number + 1) * paneMs));
  return newest + keepMs;
}
